"""Text encoders of a few thousand random weights, as folders of the kinds that the hub has."""

from pathlib import Path
from typing import Any

import torch

WORDS = ("<pad>", "<end>", "<unknown>", "a", "cat", "robot", "red", "blue", "dark", "light", "night", "day")
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def write_encoder(folder: Path, kind: str = "clip_text_model", seed: int = 0) -> Any:
    """Write a text encoder and its tokenizer into a new folder, and return the encoder."""
    import transformers as hub
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    hub.utils.logging.disable_progress_bar()
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])
    hub.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>"
    ).save_pretrained(folder)
    eye = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}
    made: dict[str, Any] = {
        "clip_text_model": lambda: hub.CLIPTextModel(hub.CLIPTextConfig(**TEXT)),
        "clip": lambda: hub.CLIPModel(hub.CLIPConfig(text_config=TEXT, vision_config=eye | {"patch_size": 16})),
        "t5": lambda: hub.T5EncoderModel(
            hub.T5Config(vocab_size=len(WORDS), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, pad_token_id=0)
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = made[kind]()
    encoder.save_pretrained(folder)
    return encoder.eval()
