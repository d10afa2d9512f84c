"""Small config.json files of several families, as dicts."""


def decoder(family, L, D, H, F, V, **more):
    return {"model_type": family, "num_hidden_layers": L, "hidden_size": D, "num_attention_heads": H,
            "intermediate_size": F, "vocab_size": V, **more}  # fmt: skip


def without(config, name):
    return {k: v for k, v in config.items() if k != name}


GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 7, "n_positions": 5}
LLAMA = decoder("llama", 2, 8, 4, 12, 7)
MOE = decoder("mixtral", 2, 8, 4, 12, 7, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
GEMMA3 = decoder("gemma3_text", 7, 8, 4, 12, 7, num_key_value_heads=2, sliding_window=3)
QWEN3 = decoder("qwen3", 2, 8, 4, 12, 7, num_key_value_heads=2, use_sliding_window=True, sliding_window=3)
SPARSE = decoder("qwen3_moe", 3, 8, 4, 12, 7, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=5)
V3 = decoder("deepseek_v3", 4, 8, 4, 12, 7, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=5,
             kv_lora_rank=6, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=5)  # fmt: skip
LOCAL, FULL = "sliding_attention", "full_attention"
