"""Small real models, made on the spot for the tests of the quality scorers."""

import numpy as np


def fasttext_model(path, labelled, **options):
    """Train a fastText model on (text, label number) pairs, as normalised as the scorer does it; return its path."""
    import fasttext

    from climb_engine.curate.fasttext import normalised

    lines = path.with_suffix(".txt")
    lines.write_text("".join(f"__label__{label} {normalised(text)}\n" for text, label in labelled), encoding="utf-8")
    settings = {"epoch": 25, "dim": 8, "lr": 0.5, "thread": 1, "minCount": 1, "verbose": 0, "bucket": 100, "seed": 0}
    fasttext.train_supervised(str(lines), **(settings | options)).save_model(str(path))
    return path


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (*SPECIAL, "the", "of", "and", "to", "a", "in", "is", "it", "that", "light", "energy", "buy", "now")


def tiny_bert(folder, outputs, bias=None, labels=None):
    """Save a random BERT for sequence classification. With ``bias`` its outputs are these, whatever the text says."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=outputs,
        initializer_range=0.5,  # so that the text makes a difference
    )
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    model = BertForSequenceClassification(config)
    if bias is not None:
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor(np.asarray(bias, dtype=np.float32)))
    model.save_pretrained(folder)
    return folder
