"""The denoising loss: how far the model's answer lies from the clean image, weighed so that every level counts alike."""

from torch import Tensor

from darkroom.networks.denoiser import Condition, Denoiser


def denoising_loss(model: Denoiser, images: Tensor, sigma: Tensor, noise: Tensor, condition: Condition) -> Tensor:
    """Loss of each image [n]. The weight 1 / c_out^2 makes it the squared error of the network's own answer (EDM, section 5)."""
    noisy = images + sigma[:, None, None, None] * noise
    error = (model(noisy, sigma, condition) - images).square().flatten(1).mean(1)
    _, answer, _ = model.preconditioning.scales(sigma.double())
    return error / answer.float().square()
