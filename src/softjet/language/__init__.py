"""Language models and their text: where both come from, how they are loaded, and what is asked of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "download": ["fetch_package"],
        "registry": ["resolve"],
        "models": ["build_model", "describe", "load_model", "new_model", "save_model"],
        "tokenizers": ["load_tokenizer", "save_tokenizer", "train_bpe"],
        "text": ["prepare_text"],
        "batches": ["loader_of"],
        "tuning": ["tune"],
        "losses": ["task_loss", "answer"],
        "evaluate": ["examples_table"],
        "metrics": ["metrics_table"],
    },
)
