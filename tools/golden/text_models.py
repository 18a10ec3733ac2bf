"""Small random BERTs as transformers and sentence-transformers save them, with ids and expected outputs."""
import json
import os
import shutil
import tempfile

import numpy as np
from sentence_transformers import SentenceTransformer, models as modules
import torch
import transformers
from safetensors.torch import load_file, save_file

TOKENS = [3, 9, 20, 32, 33, 50]  # of each item; the rest is padding
LENGTH = 64
VOCABULARY = 120


def make_config(**changes):
    options = dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                   intermediate_size=40, max_position_embeddings=LENGTH)
    options.update(changes)
    return transformers.BertConfig(**options)


def randomise(model, seed):
    """Weights large enough that every layer, bias and norm shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            norm = "LayerNorm" in name and name.endswith("weight")
            value.copy_(1 + 0.2 * noise if norm else 0.2 * noise)
    return model.eval()


def make_inputs(types):
    rng = np.random.default_rng(7)
    ids = np.zeros((len(TOKENS), LENGTH), np.int64)
    segments, mask = np.zeros_like(ids), np.zeros_like(ids)
    for row, count in enumerate(TOKENS):
        ids[row, :count] = rng.integers(1, VOCABULARY, count)
        segments[row, :count] = np.sort(rng.integers(0, types, count))
        mask[row, :count] = 1
    return {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}


def tensors(inputs):
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def write_expected(folder, inputs, outputs):
    for name, value in inputs.items():
        np.save(folder / f"{name}.npy", value.astype(np.int32))
    np.save(folder / "logits.npy", outputs.float().numpy())


def save(folder, model, output, dtype=None):
    """output: which of transformers' results."""
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder)
    inputs = make_inputs(model.config.type_vocab_size)
    with torch.no_grad():
        write_expected(folder, inputs, getattr(model.float()(**tensors(inputs)), output))


def save_old_names(folder, model):
    """As files converted from TensorFlow have them: gamma, beta, a buffer of positions, the heads of pretraining."""
    save(folder, model.bert, "pooler_output")
    weights = {}
    for name, value in model.state_dict().items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        weights[name] = value.clone()
    weights["bert.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["BertForPreTraining"]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_sentences(folder, model, pooling, normalise, old):
    """old: files as sentence-transformers wrote them before version 5."""
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words += [f"w{i}" for i in range(VOCABULARY - len(words))]
        with open(os.path.join(temporary, "vocab.txt"), "w") as file:
            file.write("\n".join(words) + "\n")
        transformers.BertTokenizer(os.path.join(temporary, "vocab.txt")).save_pretrained(temporary)
        parts = [modules.Transformer(temporary, max_seq_length=LENGTH - 8),
                 modules.Pooling(model.config.hidden_size, pooling_mode=pooling)]
        parts += [modules.Normalize()] if normalise else []
        whole = SentenceTransformer(modules=parts, device="cpu").eval()
        whole.save(str(folder))
    inputs = make_inputs(model.config.type_vocab_size)
    with torch.no_grad():
        write_expected(folder, inputs, whole.forward(tensors(inputs))["sentence_embedding"])
    keep = ["config.json", "modules.json", "sentence_bert_config.json", "model.safetensors", "1_Pooling", "2_Normalize"]
    for path in folder.iterdir():
        if path.suffix != ".npy" and path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if old:
        names = ["Transformer", "Pooling", "Normalize"][: len(parts)]
        paths = ["", "1_Pooling", "2_Normalize"]
        listed = [{"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{name}"}
                  for i, name in enumerate(names)]
        (folder / "modules.json").write_text(json.dumps(listed, indent=2))
        modes = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in
                 ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"]}
        modes["pooling_mode_mean_sqrt_len_tokens"] = False
        (folder / "1_Pooling" / "config.json").write_text(
            json.dumps({"word_embedding_dimension": model.config.hidden_size, **modes}, indent=2))
        (folder / "sentence_bert_config.json").write_text(
            json.dumps({"max_seq_length": LENGTH - 8, "do_lower_case": False}, indent=2))


def make_text_models(folder):
    def target(name):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        return folder / name

    labels = {i: f"kind {i}" for i in range(4)}
    save(target("bert"), randomise(transformers.BertForSequenceClassification(
        make_config(num_hidden_layers=3, id2label=labels, label2id={n: i for i, n in labels.items()})), 11), "logits")
    save(target("bert-f16"), randomise(transformers.BertForSequenceClassification(
        make_config(hidden_act="gelu_new", layer_norm_eps=1e-5)), 12), "logits", dtype=torch.float16)
    save(target("bert-regression"), randomise(transformers.BertForSequenceClassification(
        make_config(num_hidden_layers=1, hidden_act="relu", num_labels=1, problem_type="regression")), 13), "logits")
    save(target("bert-pooler"), randomise(transformers.BertModel(
        make_config(num_hidden_layers=1, type_vocab_size=3)), 14), "pooler_output")
    save_old_names(target("bert-old-names"), randomise(transformers.BertForPreTraining(
        make_config(num_hidden_layers=1)), 15))
    save_sentences(target("bert-sentences"), randomise(transformers.BertModel(make_config()), 16), "mean", True, True)
    save_sentences(target("bert-cls"), randomise(transformers.BertModel(
        make_config(num_hidden_layers=1, hidden_act="gelu_pytorch_tanh")), 17), "cls", False, False)
