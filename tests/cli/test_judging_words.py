"""Numbers that the judging words cannot work with are refused before anything is looked up."""

import pytest

from cli.main import main


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("trace", "x.png", "--count", "0"), "argument --count: 0 is below 1"),
        (("compare", "a", "b", "--images", "0"), "argument --images: 0 is below 8"),
        (("compare", "a", "b", "--seed", "-1"), "argument --seed: -1 is below 0"),
        (("choose", "--steps", "4", "0"), "argument --steps: 0 is below 1"),
        (("choose", "--images", "4"), "argument --images: 4 is below 8"),
    ],
)
def test_a_number_below_what_makes_sense_is_refused(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
