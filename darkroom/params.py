"""params.yaml as one typed tree: for flows, for forms, for the schema file."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from darkroom.augmentation import AugmentSection
from darkroom.curation.curate import CurateSection
from darkroom.evaluation.evaluate import EvaluateSection
from darkroom.finetuning.finetune import FinetuneSection
from darkroom.gates import PromoteSection, RegisterSection
from darkroom.retraining import RetrainSection
from darkroom.sections import Section, read_yaml, validated
from darkroom.training.train_base import TrainBaseSection


class Params(Section):
    """The settings of every step."""

    curate: CurateSection
    augment: AugmentSection
    train_base: TrainBaseSection
    finetune: FinetuneSection
    evaluate: EvaluateSection
    register_: Annotated[RegisterSection, Field(alias="register")]  # `register` itself is a method of every class
    promote: PromoteSection
    retrain: RetrainSection


def read_params(file: Path) -> Params:
    """The whole of a params file. Raises SettingsError with the exact path of every fault."""
    return validated(Params, read_yaml(file), file)


def schema() -> str:
    """params.schema.json: completion and checks in editors."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"
