"""A version's model card: one page of Markdown that says what the model is, what it was made of and how it did."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.dvc_data import flattened
from darkroom.gates import Scores


def model_card(workspace: Path, settings: Mapping[str, Any], scores: Scores, identities: Mapping[str, str]) -> str:
    """The card of the tuned model that lies in a workspace. `settings` is the whole of params.yaml."""
    name = settings["register"]["name"]
    counts = json.loads((workspace / "data/curated/dataset.json").read_text(encoding="utf-8"))
    model = json.loads((workspace / "models/tuned/model.json").read_text(encoding="utf-8"))
    parts = [
        f"# {name}",
        _data(counts, settings, identities),
        _scores(scores),
        *_diagnosis(workspace / "reports/evaluate/diagnosis.json"),
        _use(name, model),
        _making(model, settings, identities),  # last: where a card is cut short, settings go first
    ]
    return "\n\n".join(parts) + "\n"


def _data(counts: Mapping[str, Any], settings: Mapping[str, Any], identities: Mapping[str, str]) -> str:
    rejected = ", ".join(f"{count} {reason}" for reason, count in counts.get("rejected_by_reason", {}).items()) or "none"
    return (
        "## Data\n\n"
        f"- data set: `{Path(settings['curate']['source']).name}`\n"
        f"- {counts['kept']:,} images kept of {counts['files']:,} (rejected: {rejected}), at {counts['image_size']} pixels\n"
        f"- labels: {', '.join(label or '(none)' for label in counts['labels'])}\n"
        f"- data version (DVC, of data/curated): `{identities.get('data.md5', '')}`\n"
        "- every image with its digest: `manifest.parquet` beside this card\n"
        f"- licence: {settings['register']['licence']}"
    )


def _scores(scores: Scores) -> str:
    rows = ["## Scores\n", "| score | value | interval | real against real | n |", "|---|---|---|---|---|"]
    for name, one in scores.items():
        interval = f"{one['low']:.4g} to {one['high']:.4g}" if "low" in one and "high" in one else ""
        real = f"{one['floor']:.4g}" if "floor" in one else ""
        measured = f" ({one['name']})" if "name" in one and str(one["name"]) != name else ""
        rows.append(f"| {name}{measured} | {one['value']:.4g} | {interval} | {real} | {one.get('n', '')} |")
    if "copied_share" in scores:
        copied, floor = scores["copied_share"]["value"], scores["copied_share"].get("floor", 0.0)
        verdict = (
            "no more than unseen real images are" if copied <= floor else "more than unseen real images are: look at the report"
        )
        rows.append(f"\nMemorisation: {copied:.1%} of the samples are copies of a training image, {verdict}.")
    return "\n".join(rows) + "\n\nSamples: `samples_tuned.png`; the whole report: `report.html`."


def _diagnosis(file: Path) -> list[str]:
    """What ails the tuned model; nothing where it was not examined."""
    from darkroom.evaluation.examining import told  # imported here: it brings torch along

    findings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return [f"## Diagnosis\n\n{told({'tuned': findings['tuned']})}"] if "tuned" in findings else []


def _making(model: Mapping[str, Any], settings: Mapping[str, Any], identities: Mapping[str, str]) -> str:
    facts = {
        "code": identities.get("code", ""),
        "workspace (git commit)": identities.get("git.commit", "") or "nothing committed",
        "weights (sha256)": identities.get("weights.sha256", ""),
        "started from (sha256)": model["parent_digest"],
        "images seen": f"{model['images_seen']:,}",
        "drawn by": json.dumps(settings["evaluate"]["drawing"]),
        "trained in (MLflow run)": identities.get("trained_in", ""),
    }
    rows = [f"- {name}: `{value}`" for name, value in facts.items()]
    chosen = flattened({step: settings[step] for step in ("augment", "train_base", "finetune")})
    table = [f"| {name} | {value} |" for name, value in chosen.items()]
    return "\n".join(["## Making\n", *rows, "\n| setting | value |\n|---|---|", *table])


def _use(name: str, model: Mapping[str, Any]) -> str:
    label = (model["focus"] or model["labels"])[0]
    return (
        "## Use\n\n```python\nimport mlflow, pandas\n"
        f'model = mlflow.pyfunc.load_model("models:/{name}@champion")\n'
        f'rows = pandas.DataFrame({{"seed": [0, 1], "label": ["{label}", "{label}"]}})\n'
        'images = model.predict(rows, params={"steps": 20})["image"]  # PNG bytes\n```\n\n'
        "The folder `model` holds `weights.safetensors` and `model.json`; nothing in it is executed when it is loaded."
    )
