"""Tiny Llamas as GGUF files, with a vocabulary or in any type of numbers."""

import gguf
import numpy as np

from tests.tiny_checkpoint import drawn


def vocabulary(model, own=()):
    """(tokens, scores, types) of a model of SentencePiece, as llama.cpp's converter writes them."""
    tokens, scores, types = [], [], []
    for i in range(model.get_piece_size()):
        piece, kind = model.id_to_piece(i), gguf.TokenType.NORMAL
        if model.is_unknown(i):
            kind = gguf.TokenType.UNKNOWN
        elif model.is_control(i):
            kind = gguf.TokenType.CONTROL
        elif model.is_byte(i):
            kind = gguf.TokenType.BYTE
        elif piece in own:  # blanks in these are written as such
            piece, kind = piece.replace("▁", " "), gguf.TokenType.USER_DEFINED
        tokens.append(piece)
        scores.append(model.get_score(i))
        types.append(kind)
    return tokens, scores, types


def llama(path, V, D=32, F=64, say=lambda writer: None, data=None, kind=None):
    """A Llama of one layer and two heads; `say` adds metadata, `data` gives the bytes of matrices of another `kind`."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(D)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_feed_forward_length(F)
    writer.add_context_length(4096)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    say(writer)
    square = {f"blk.0.attn_{name}": [D, D] for name in ("q", "k", "v", "output")}
    wide = {"token_embd": [V, D], "blk.0.ffn_gate": [F, D], "blk.0.ffn_up": [F, D], "blk.0.ffn_down": [D, F]}
    for name, shape in {**square, **wide}.items():
        if kind is None:
            writer.add_tensor(f"{name}.weight", drawn(name, shape).float().numpy())
        else:
            writer.add_tensor(f"{name}.weight", data(name, shape), raw_dtype=kind)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(D, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
