"""Convert a sentencepiece model for `tokenizers`, so that it splits text identically.

transformers 5 converts such files too, but orders merges by piece number instead of score, and so splits runs of
spaces differently from the tokenizer used in training.
"""

from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import models, normalizers

SPACE = "▁"


def read(path: Path) -> tuple[models.BPE, normalizers.Normalizer]:
    """Read the merges, and the normalizer that runs before them.

    If the model was trained with a space before each text, the normalizer adds one before each piece of text between
    special tokens, as sentencepiece did when it was given the pieces one at a time.
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
    """List the pairs of pieces that merge into a third, in order of precedence.

    The best score comes first; among equals the longer left piece, so that runs of spaces grow from the left.
    """
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
