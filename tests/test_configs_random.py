"""Any valid sizes are read back, and no file makes a traceback."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.configs import FAMILIES, LIMIT, architecture
from derivations.architecture import Architecture, Experts, Latent, parameters
from tests.config_examples import FULL, GEMMA3, GPT2, LLAMA, LOCAL, MOE, QWEN3, SPARSE, V3, decoder

sizes = st.integers(1, 2**20)


@st.composite
def valid(draw):
    """A config.json of any sizes, and the architecture that it means."""
    family = draw(st.sampled_from(["gpt2", "gpt_neox", "llama", "mixtral", "qwen3", "gemma2", "olmo2", "deepseek_v3"]))
    L, G, K, F, V = (
        draw(st.integers(1, 99)),
        draw(st.integers(1, 9)),
        2 * draw(st.integers(1, 99)),
        *draw(st.tuples(sizes, sizes)),
    )
    H, D, tied = G * draw(st.integers(1, 9)), draw(sizes), draw(st.booleans())
    if family in ("gpt2", "gpt_neox"):
        G, D = H, H * K
    config = decoder(family, L, D, H, F, V, tie_word_embeddings=tied, num_key_value_heads=G, head_dim=K)
    meant = Architecture(L, D, H, G, K, F, V, tied=tied, **FAMILIES[family])
    if family == "gpt2":
        config = {{"hidden_size": "n_embd", "intermediate_size": "n_inner"}.get(k, k): v for k, v in config.items()}
        config["n_positions"], meant = V, replace(meant, S=V)
    E, active = (lambda e: (e, draw(st.integers(1, e))))(draw(st.integers(1, 99)))
    if family == "mixtral":
        config |= {"num_local_experts": E, "num_experts_per_tok": active}
        meant = replace(meant, experts=Experts(E, active, F))
    if family == "gemma2":
        config["sliding_window"], meant = V, replace(meant, window=V, full=2 if L > 1 else 0)
    if family == "deepseek_v3":
        dense, shared, q, *c = draw(
            st.tuples(st.integers(0, L), st.integers(0, 3), st.none() | sizes, sizes, sizes, sizes)
        )
        config |= {"n_routed_experts": E, "num_experts_per_tok": active, "moe_intermediate_size": c[0],
                   "n_shared_experts": shared, "first_k_dense_replace": dense, "q_lora_rank": q, "kv_lora_rank": c[1],
                   "qk_nope_head_dim": c[2], "qk_rope_head_dim": K, "v_head_dim": D}  # fmt: skip
        meant = replace(meant, K=c[2] + K, latent=Latent(c[1], c[2], K, D, q),
                        experts=Experts(E, active, c[0], shared, dense, True))  # fmt: skip
    return config, meant


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("model") / "config.json"


@given(valid())
@settings(deadline=None)
def test_any_valid_sizes_are_read_back(file, case):
    config, meant = case
    file.write_text(json.dumps(config), encoding="utf-8")
    assert architecture(str(file)) == replace(meant, name=str(file))


NUMBERS = st.integers(-2, 5) | st.integers(-LIMIT, 2**70) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.sampled_from([FULL, LOCAL]),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=3), x, max_size=3),
)
BASES = [GPT2, LLAMA, MOE, GEMMA3, QWEN3, SPARSE, V3, {"model_type": "gemma3", "text_config": GEMMA3}]
OPTIONAL = {"layer_types", "mlp_only_layers", "max_window_layers", "attention_bias", "head_dim", "q_lora_rank",
            "first_k_dense_replace", "n_shared_experts", "tie_word_embeddings", "decoder_sparse_step"}  # fmt: skip
FIELDS = sorted({k for base in BASES for k in base} | OPTIONAL)


@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
       st.sets(st.sampled_from(FIELDS), max_size=1), st.sampled_from(sorted(FAMILIES)) | st.none())  # fmt: skip
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_no_traceback_for_random_values(file, base, changed, gone, family):
    config = {
        k: v for k, v in {**base, **({"model_type": family} if family else {}), **changed}.items() if k not in gone
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    try:
        P = parameters(architecture(str(file)))
    except ValueError as error:
        assert len(str(error).splitlines()) == 1 and "expected" in str(error) and "received" in str(error)
    else:
        assert isinstance(P, int) and P > 0


@given(VALUES | st.binary(max_size=20))
@settings(deadline=None)
def test_no_traceback_for_random_files(file, content):
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ValueError) as error:
        architecture(str(file))
    assert len(str(error.value).splitlines()) == 1
