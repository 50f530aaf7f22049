"""Names that other programs have for flags: those of sentence-transformers' and Hugging Face's trainers, of FAISS."""

from collections.abc import Collection, Mapping

# By their name: ours, of which a verb may have one, several or none.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("num_train_epochs", "num_epochs", "n_epochs"), ("epochs",)),
    **dict.fromkeys(("max_seq_length", "max_length", "max_len"), ("query_max_len", "passage_max_len")),
    **dict.fromkeys(("q_max_len", "query_max_length"), ("query_max_len",)),
    **dict.fromkeys(("p_max_len", "passage_max_length"), ("passage_max_len",)),
    **dict.fromkeys(("train_batch_size", "per_device_train_batch_size"), ("batch_queries",)),
    **dict.fromkeys(("batch_size", "mini_batch_size"), ("batch_queries", "encode_tokens")),
    **dict.fromkeys(("eval_batch_size", "per_device_eval_batch_size", "encode_batch_size"), ("encode_tokens",)),
    **dict.fromkeys(("num_negatives", "num_hard_negatives", "train_group_size"), ("negatives_per_query",)),
    "lr": ("learning_rate",),
    "lr_scheduler_type": ("rate_schedule",),
    **dict.fromkeys(("fp16", "bf16", "dtype", "torch_dtype"), ("precision", "train_precision")),
    **dict.fromkeys(("top_k", "topk", "n", "k", "num_results"), ("k", "depth")),
    **dict.fromkeys(("output_dir", "output", "save_path", "o"), ("out", "to")),
    **dict.fromkeys(("model_name_or_path", "model_name", "m"), ("model",)),
    **dict.fromkeys(("dataset", "dataset_name", "train_data", "data_dir", "corpus", "d"), ("data",)),
    "pooling_mode": ("pooling",),
    **dict.fromkeys(("normalize_embeddings", "l2_normalize"), ("normalize",)),
    **dict.fromkeys(("cache_chunk_size", "gc_p_chunk_size"), ("chunk_tokens",)),
    **dict.fromkeys(("nproc_per_node", "num_gpus", "num_processes", "world_size"), ("processes",)),
    "random_seed": ("seed", "seeds"),
    "lora_r": ("lora_rank",),
}


def synonyms(name: str, flags: Collection[str]) -> list[str]:
    """Return those of a verb's flags that another program calls ``name``; [] if there is none.

    Example:
        >>> synonyms("fp16", ["data", "precision"])
        ['precision']
    """
    return [ours for ours in SYNONYMS.get(name.lower(), ()) if ours in flags and ours != name]
