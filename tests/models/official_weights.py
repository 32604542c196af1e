"""Features of timm's and torchvision's networks with weights that are a formula: the vectors in test_weights.py.

python -m tests.models.official_weights        # needs torch, torchvision and timm; prints them
"""

import numpy as np


def numbers(name, shape):
    """Weights of a tensor: a function of its name and shape, spread as trained ones are."""
    count = int(np.prod(shape, dtype=np.int64))
    waves = np.sin(0.7 * np.arange(count, dtype=np.float64) ** 1.1 + sum(map(ord, name))).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * waves
    if len(shape) < 2 and name.endswith(("weight", "gamma")):
        return 1 + 0.2 * waves
    return (2.0 / max(1, np.prod(shape[1:]))) ** 0.5 * waves if len(shape) > 1 else 0.1 * waves


def images(side):
    """Two images float64[2, side, side, 3] in [-1, 1]."""
    return np.sin(0.05 * np.arange(2 * side * side * 3) ** 1.2).reshape(2, side, side, 3)


def main():
    import timm
    import torch
    import torchvision

    def features(network, side, take):
        state = network.state_dict()
        tensors = {
            name: torch.tensor(numbers(name, tuple(x.shape)), dtype=x.dtype) for name, x in state.items()
        }
        network.load_state_dict(tensors)
        x = torch.tensor(images(side), dtype=torch.float32).permute(0, 3, 1, 2)
        with torch.no_grad():
            return take(network.eval(), x)[:, :4].round(decimals=5).tolist()

    def vit(**options):
        base = {
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "num_classes": 5,
        }
        return timm.models.vision_transformer.VisionTransformer(**{**base, **options})

    def resampled(network, x):
        """DINO's and MAE's way, without anti-aliasing."""
        first, grid = (
            network.pos_embed[:, :1],
            network.pos_embed[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2),
        )
        grid = (
            torch.nn.functional.interpolate(grid, (6, 6), mode="bicubic")
            .permute(0, 2, 3, 1)
            .reshape(1, 36, 32)
        )
        larger = vit(img_size=48)
        state = {**network.state_dict(), "pos_embed": torch.cat([first, grid], dim=1)}
        larger.load_state_dict(state)
        return larger.eval().forward_features(x)[:, 0]

    def token(network, x):
        return network.forward_features(x)[:, 0]

    def headless(network, x):
        network.fc = torch.nn.Identity()
        return network(x)

    resnet = torchvision.models.resnet
    print("vit", features(vit(), 32, token))
    print("vit on 48 pixels", features(vit(), 48, resampled))
    registers = {"init_values": 1e-5, "reg_tokens": 3, "no_embed_class": True, "dynamic_img_size": True}
    print("dinov2", features(vit(**registers), 32, token))
    print("dinov2 on 48 pixels", features(vit(**registers), 48, token))
    print("dinov2 on 16 pixels", features(vit(**registers), 16, token))
    print("basic", features(resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1]), 64, headless))
    print("bottleneck", features(resnet.ResNet(resnet.Bottleneck, [1, 2, 1, 1]), 64, headless))


if __name__ == "__main__":
    main()
