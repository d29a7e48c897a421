"""What MLflow runs to serve a registered version: rows of (seed, label) in, PNG bytes out. Models from code, no pickle."""

from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import pandas
import torch
from mlflow.pyfunc import PythonModel
from PIL import Image


class Painter(PythonModel):  # type: ignore[misc]  # MLflow's interface is a class to derive from
    """A Darkroom model behind MLflow's `predict`."""

    def load_context(self, context: Any) -> None:
        """Load safetensors and JSON from the version's `model` folder."""
        from darkroom.networks.saved import device_named, load_model

        self.device = device_named("auto")
        self.model, self.card = load_model(Path(context.artifacts["model"]), self.device)

    def predict(self, context: Any, model_input: pandas.DataFrame, params: dict[str, Any] | None = None) -> pandas.DataFrame:
        """One image a row: column `seed` (whole number) and `label` (a name the model knows, or "" for none told)."""
        from darkroom.sampling import draw, noise_for, shape_at

        given = params or {}
        drawing = self.card.drawing.model_copy(update={key: given[key] for key in ("steps", "guidance", "away") if key in given})
        images = []
        for seed, name in zip(model_input["seed"], model_input["label"], strict=True):
            if name and name not in self.card.labels:
                raise ValueError(f"this model knows no label {name!r}; it knows: {', '.join(self.card.labels)}")
            label = torch.tensor([self.card.labels.index(name) if name else -1])
            shape = shape_at(self.card, int(seed), 0, int(label))
            noise = noise_for(int(seed), [0], shape).to(self.device)
            pixels = draw(self.model, self.card, label.to(self.device), noise, drawing)
            png = BytesIO()
            Image.fromarray(pixels[0]).save(png, "PNG")
            images.append(png.getvalue())
        return pandas.DataFrame({"image": images})


mlflow.models.set_model(Painter())
