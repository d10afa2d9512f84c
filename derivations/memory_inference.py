r"""What inference takes in bytes beside training: a live set of any depth, and the cache of keys and values.

Article papers/memory.md, code reference/decoder.py.
"""

from sympy import Rational, Symbol

from derivations.claim import claim
from derivations.costs import Cost, derive
from derivations.forms import eq, ge
from derivations.programs import cached, gpt2, kept, live, llama, mla

L, B, T, D, H, G, K, C, R = (Symbol(name, integer=True, positive=True) for name in "LBTDHGKCR")

WIDE = Cost("kept", kept(lambda L, H, K, V: gpt2(L, H * K, H, K, 4 * H * K, V)), "B T H K V")
LIVE = Cost("live", live(lambda L, H, K: gpt2(L, H * K, H, K, 4 * H * K)), "B T H K", "inference", first=1)
GROUPED = Cost("cache", cached(lambda L, H, G, R: llama(L, 2, G, H, R)), "B T H G R")
LATENT = Cost("cache", cached(mla), "B T C R", "latent")


@claim(
    source="pytorch2026documentation, Autograd mechanics (saved tensors)",
    code="reference.decoder.Decoder",
    given={D: H * K},
    mistakes={
        "inference keeps every layer's activations": {"depth": L},
        "GELU works in place": {"largest": 28},
        "training keeps the residual stream only": {"width": 4},
    },
)
def training_to_inference_ratio_grows_with_depth(depth=1, largest=44, width=16):
    """Inference holds 44BTD bytes at any depth (F = 4D); training keeps (16D + H + 4)/11D > 16/11 of that a layer."""
    added = (WIDE(L=L + 1) - WIDE()) / LIVE()
    share = (width * D + H + 4) * Rational(44, 11) / (largest * D)
    return (
        derive(
            LIVE(),
            eq(
                largest * depth * B * T * D,
                "x, x after attention, its norm and both sides of GELU: 4 + 4 + 4 + 16 + 16",
            ),
        ),
        derive(added, eq(share, "64D + 4H + 16 bytes a token saved, of 44D")),
        derive(added, ge(Rational(16, 11), "H + 4 > 0", by=(H + 4) / (11 * D))),
    )


@claim(
    source="ainslie2023gqa, §2.2; deepseek2024v2, §2.1.3",
    code="reference.attention.grouped_query_attention",
    given={K: 2 * R},
    mistakes={
        "query heads counted": {"heads": H},
        "keys without values": {"both": 1},
        "bytes of float32": {"e": 4},
        "a latent cache holds keys and values apart": {"latent": 2 * C + R},
        "the turned part for every head": {"latent": C + H * R},
        "latent attention counted as grouped": {"latent": 2 * H * R},
    },
)
def kv_cache_bytes(heads=G, both=2, e=2, latent=C + R):
    """In bfloat16 a cache takes 2·2·L·G·K·T bytes a sequence; a latent one of C + R numbers a token 2L(C + R)T."""
    return (
        derive(
            GROUPED(), eq(both * e * L * B * heads * K * T, "keys and values, K = 2R wide, of every key-value head")
        ),
        derive(LATENT(), eq(e * L * B * latent * T, "one latent vector for both, and one turned key for all heads")),
    )
