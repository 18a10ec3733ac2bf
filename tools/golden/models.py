"""Small random models as transformers saves them, with their expected outputs."""
import json

import numpy as np
import torch
import transformers
from transformers.image_utils import load_image

INPUTS = ["rgb.png", "plain-420.jpg", "tall.jpg", "wide.jpg", "exif-6.jpg", "grey.jpg", "palette8.png", "cmyk.jpg"]
PIXELS = 3  # of how many inputs the pixel values are kept
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def config(kind, **changes):
    options = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32,
                   patch_size=8, num_labels=7)
    options.update(changes)
    labels = [f"thing {i}" for i in range(options.pop("num_labels"))]
    return kind(id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}, **options)


def randomise(model, seed):
    """Weights large enough that every layer, bias and norm shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            norm = "layernorm" in name and name.endswith("weight")
            value.copy_(1 + 0.2 * noise if norm else 0.2 * noise)
    return model.eval()


def outputs(model, pixels):
    with torch.no_grad():
        result = model.float()(torch.from_numpy(pixels))
    return (result.logits if hasattr(result, "logits") else result.last_hidden_state[:, 0]).numpy()


def save(folder, images, model, processor, preprocessor=None, dtype=None, keep_pixels=False, **options):
    """preprocessor: what to write as preprocessor_config.json; None: what the processor saves; False: nothing."""
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder, **options)
    if preprocessor is None:
        processor.save_pretrained(folder)
    elif preprocessor is not False:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    pixels = np.concatenate([processor(load_image(str(images / name)), return_tensors="np")["pixel_values"]
                             for name in INPUTS]).astype(np.float32)
    np.save(folder / "logits.npy", outputs(model, pixels))
    if keep_pixels:
        np.save(folder / "pixel_values.npy", np.ascontiguousarray(pixels[:PIXELS].transpose(0, 2, 3, 1)))


def make_models(folder, images):
    vit = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    deit = transformers.DeiTImageProcessorPil(size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32},
                                              image_mean=MEAN, image_std=STD)
    shortest = transformers.ViTImageProcessorPil(size={"shortest_edge": 40}, do_center_crop=True, resample=1,
                                                 crop_size={"height": 32, "width": 32})
    V, D = transformers.ViTConfig, transformers.DeiTConfig
    save(folder / "vit", images, randomise(transformers.ViTForImageClassification(config(V, num_hidden_layers=3)), 1), vit,
         keep_pixels=True)
    old = {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor",
           "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 32}
    save(folder / "vit-sharded", images,
         randomise(transformers.ViTForImageClassification(
             config(V, hidden_size=24, num_attention_heads=3, intermediate_size=40, hidden_act="gelu_new",
                    qkv_bias=False, num_labels=3)), 2), vit, preprocessor=old, max_shard_size="30KB")
    save(folder / "vit-f16", images,
         randomise(transformers.ViTForImageClassification(config(V, layer_norm_eps=1e-5)), 3), shortest,
         dtype=torch.float16)
    save(folder / "vit-features", images,
         randomise(transformers.ViTModel(config(V, num_hidden_layers=1, patch_size=16, hidden_act="relu")), 4), vit,
         dtype=torch.bfloat16)
    save(folder / "deit", images, randomise(transformers.DeiTForImageClassification(config(D)), 5), deit,
         preprocessor=False, dtype=torch.float16)
    save(folder / "deit-distilled", images,
         randomise(transformers.DeiTForImageClassificationWithTeacher(config(D)), 6), deit,
         keep_pixels=True)
