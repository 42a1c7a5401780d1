"""A sentencepiece model as a `tokenizers` one that splits every text alike.

transformers 5 converts such files too, but orders merges by piece number where the model orders them by score, and so
splits runs of spaces differently from the tokenizer a checkpoint was trained with.
"""

from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import models, normalizers

SPACE = "▁"


def read(path: Path) -> tuple[models.BPE, normalizers.Normalizer]:
    """The merges, and what happens to a text before them.

    The normalizer puts the space before a text that the model was trained with (if it was) before each text between
    special tokens, as sentencepiece did when it was handed those one by one.
    """
    model = SentencePieceProcessor(model_file=str(path))
    vocabulary = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    merges = _merges(model, vocabulary)
    bpe = models.BPE(
        vocab=vocabulary,
        merges=merges,
        unk_token=model.id_to_piece(model.unk_id()),
        fuse_unk=True,
        byte_fallback=True,
    )
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", SPACE)]
    if model.encode("a", out_type=str)[0].startswith(SPACE):
        steps.insert(0, normalizers.Prepend(SPACE))
    return bpe, normalizers.Sequence(steps)


def _merges(model: SentencePieceProcessor, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way two pieces make a third, best score first; among equals the longer left piece, as runs grow."""
    scores = {
        piece: model.get_score(i)
        for piece, i in vocabulary.items()
        if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i))
    }
    found = [
        (-score, -cut, piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return [(left, right) for _, _, left, right in sorted(found)]
