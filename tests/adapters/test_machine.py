"""The environment: passwords are taken out of addresses before anything can repeat them."""

import pytest

from adapters import machine


def test_a_password_in_an_address_is_moved_to_where_the_product_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:p%40ss@mlflow.example:5000/path")
    monkeypatch.setenv("PREFECT_API_URL", "http://ada:p%40ss@prefect.example:4200/api")
    machine.set_quiet()
    assert machine.setting("MLFLOW_TRACKING_URI") == "https://mlflow.example:5000/path"
    assert (machine.setting("MLFLOW_TRACKING_USERNAME"), machine.setting("MLFLOW_TRACKING_PASSWORD")) == ("ada", "p@ss")
    assert machine.setting("PREFECT_API_URL") == "http://prefect.example:4200/api"
    assert machine.setting("PREFECT_API_AUTH_STRING") == "ada:p@ss"


@pytest.mark.parametrize("address", ["sqlite:////tmp/a@b.db", "postgresql://ada:word@host/mlflow", "http://host:5000"])
def test_other_addresses_stay(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    machine.set_quiet()
    assert machine.setting("MLFLOW_TRACKING_URI") == address
