"""A DDPM of your own before the judge. Copy this file, put your model in the place of the toys, and run

    ddpm-bench verify --subject subject_template:MySubject

A subject is any object with the attributes and as many of the methods below as you have; nothing is inherited. Arrays
are NumPy's, noise is an argument, and `t` is a (B,) integer array that counts from 0. What differs in your code, such
as steps from 1 to T, channels last or tensors of a framework, is translated here and nowhere else: the judge sees your
arithmetic, and your own callers see no change. `docs/judge-your-own.md` has the rest.
"""

from __future__ import annotations

import numpy as np

BETA_START, BETA_END = 1e-4, 0.02
TYPE = np.float32


class ToyDDPM:
    """PUT YOUR OWN HERE: a DDPM in NumPy that counts its steps from 1 to T and computes in float32."""

    def __init__(self, steps: int) -> None:
        beta = np.linspace(BETA_START, BETA_END, steps)  # float64 until the tables are done
        self.steps, self.beta, self.alpha_bar = steps, beta, np.cumprod(1 - beta)

    def add_noise(self, image, noise, step):
        alpha_bar = self._at(self.alpha_bar, step, image)
        return np.sqrt(alpha_bar).astype(TYPE) * image + np.sqrt(1 - alpha_bar).astype(TYPE) * noise

    def remove_noise(self, image, predicted, step, noise):
        """One step of Algorithm 2 with the posterior variance."""
        beta, alpha_bar = self._at(self.beta, step, image), self._at(self.alpha_bar, step, image)
        before = self._at(
            np.append(1.0, self.alpha_bar), step, image
        )  # alpha_bar of the step before; 1 before the first
        mean = (image - (beta / np.sqrt(1 - alpha_bar)).astype(TYPE) * predicted) / np.sqrt(1 - beta).astype(TYPE)
        return mean + np.sqrt(beta * (1 - before) / (1 - alpha_bar)).astype(TYPE) * noise

    def generate(self, model, image, noises):
        for step, noise in zip(range(self.steps, 0, -1), noises, strict=True):
            steps = np.full(len(image), step)
            image = self.remove_noise(image, model(image, steps), steps, noise)
        return image

    def _at(self, table, step, image):
        return table[np.asarray(step) - 1].reshape(-1, *[1] * (image.ndim - 1))


class MySubject:
    """The same as the judge sees it. Leave out what you do not have: its checks are skipped, and say so."""

    dtype = "float32"  # of every result below; what comes in may be float64 and is to be cast
    variance = "posterior"  # of the reverse steps: "posterior" (fixed small) or "beta" (fixed large)
    clip_x_0 = False  # whether reverse steps clip their estimate of x_0 to [-1, 1]
    schedule = {"name": "linear", "beta_start": BETA_START, "beta_end": BETA_END}  # noqa: RUF012 - None if it is no named one

    def __init__(self, num_timesteps: int = 1000) -> None:
        self.num_timesteps = num_timesteps
        self.name = f"toy-{num_timesteps}"  # what reports call it
        self._ddpm = ToyDDPM(num_timesteps)

    def tables(self):
        """The tables as your code keeps them, (T,) each. More of them are checked if they are given."""
        return {"beta": self._ddpm.beta.astype(TYPE), "alpha_bar": self._ddpm.alpha_bar.astype(TYPE)}

    def q_sample(self, x_0, t, eps):
        """x_t, Eq. 4."""
        return self._ddpm.add_noise(x_0.astype(TYPE), eps.astype(TYPE), t + 1)  # it counts from 1

    def p_step(self, x_t, t, eps_hat, z):
        """x_{t-1}, Algorithm 2."""
        return self._ddpm.remove_noise(x_t.astype(TYPE), eps_hat.astype(TYPE), t + 1, z.astype(TYPE))

    def sample(self, eps_model, x_T, z):
        """The whole of Algorithm 2; `z[i]` is the noise of the i-th step taken. The judge brings the model."""
        model = lambda image, step: eps_model(image, step - 1).astype(TYPE)  # noqa: E731 - short, and read once
        return self._ddpm.generate(model, x_T.astype(TYPE), z.astype(TYPE))

    def loss(self, eps_model, x_0, t, eps):
        """L_simple on this batch, Eq. 14, as a Python float."""
        return float(np.mean((eps_model(self.q_sample(x_0, t, eps), t).astype(TYPE) - eps.astype(TYPE)) ** 2))


# A framework's tensors ------------------------------------------------------------------------------------------------


class Tensor:
    """Stands for `torch.Tensor`. PUT `import torch` HERE INSTEAD."""

    def __init__(self, values) -> None:
        self._values = np.asarray(values)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self):
        return self._values


def tensor(array):
    """NumPy to tensor; with PyTorch `torch.from_numpy` of the same copy: the judge's arrays are not yours to change."""
    return Tensor(np.array(array, TYPE if np.issubdtype(array.dtype, np.floating) else array.dtype))


def array(of):
    """Tensor to NumPy, the gradient's history left behind."""
    return of.detach().cpu().numpy()


class TorchStyleDDPM:
    """PUT YOUR OWN HERE: a scheduler or module whose methods take tensors and return them, steps from 0."""

    def __init__(self) -> None:
        self._toy = ToyDDPM(1000)

    def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return Tensor(self._toy.add_noise(original.numpy(), noise.numpy(), timesteps.numpy() + 1))


class TorchSubject:
    """Its forward process before the judge: `ddpm-bench verify --subject subject_template:TorchSubject`."""

    name, dtype, num_timesteps, variance, clip_x_0 = "torch-style toy", "float32", 1000, "posterior", False
    schedule = None  # not declared: then only what every schedule must fulfil is checked

    def __init__(self) -> None:
        self._ddpm = TorchStyleDDPM()

    def tables(self):
        """With PyTorch's schedulers, `betas` and `alphas_cumprod`."""
        return {"beta": self._ddpm._toy.beta.astype(TYPE), "alpha_bar": self._ddpm._toy.alpha_bar.astype(TYPE)}

    def q_sample(self, x_0, t, eps):
        return array(self._ddpm.add_noise(tensor(x_0), tensor(eps), tensor(t)))
