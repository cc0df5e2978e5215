"""ASG's learned schedule: a policy that chooses the learning rate of each layer group, trained by REINFORCE.

Every ``window`` steps the policy sees o = (1, CE, lambda KL, progress, mean and deviation of the head's weights, the
current multipliers) and draws, for each layer group g, one multiplier from {0, 0.1, ..., 1} of the head's rate::

    pi_g(a | o) = softmax(W_g o)_a
    W_g        <- W_g + eta (R - b) (e_a - pi_g(. | o)) o^T         (REINFORCE; the gradient of log pi_g in closed form)
    R           = 1 - L_now / L_before,   L = mean of CE + lambda KL over a window;   b = running mean of R

Chen et al., Automated Synthetic-to-Real Generalization, ICML 2020. Deviations, because the official policy
training was never released: the policy is linear instead of an LSTM for each observation, it learns online, in the run
itself, instead of over many runs, windows are of one length, and the reward is ours. As there, no decay is applied.
"""

import torch
from torch import Tensor, nn, optim

from csg_train.models.network import TaskNetwork
from csg_train.seeds import generator_for

__all__ = ["RatePolicy"]

_MULTIPLIERS = tuple(step / 10 for step in range(11))
_BASELINE = 0.9
"""Decay of the running mean reward."""


class RatePolicy(nn.Module):
    """The policy with its state; all of it in buffers, so that checkpoints hold it.

    Args:
        groups: Names of the optimiser's parameter groups, in order.
        seed: The run's seed; draws are keyed by it and by the window.
        steps: Steps of the run, for the observation of progress.
        window: Steps between two actions.
        rate: eta, the policy's own learning rate.
    """

    weights_GAF: Tensor
    observation_F: Tensor
    action_G: Tensor
    reward_mean: Tensor
    loss_before: Tensor
    loss_sum: Tensor
    step: Tensor

    def __init__(self, groups: list[str], *, seed: int, steps: int, window: int, rate: float) -> None:
        super().__init__()
        self.groups, self.seed, self.steps, self.window, self.rate = groups, seed, steps, window, rate
        width = 6 + len(groups)
        self.register_buffer("weights_GAF", torch.zeros(len(groups), len(_MULTIPLIERS), width))
        self.register_buffer("observation_F", torch.zeros(width))
        self.register_buffer("action_G", torch.zeros(len(groups), dtype=torch.int64))
        for name in ("reward_mean", "loss_before", "loss_sum"):
            self.register_buffer(name, torch.full((), torch.nan) if name != "loss_sum" else torch.zeros(()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def probabilities(self, observation_F: Tensor) -> Tensor:
        """``pi``: ``(G, 11)``, rows sum to 1."""
        return (self.weights_GAF @ observation_F).softmax(dim=1)

    @torch.no_grad()
    def reinforce(self, reward: Tensor) -> None:
        """Move the policy along ``(R - b) grad log pi`` of the last action; then move the running mean b."""
        if self.reward_mean.isnan():
            self.reward_mean.copy_(reward)
        surprise_GA = -self.probabilities(self.observation_F)
        surprise_GA[torch.arange(len(self.groups), device=self.action_G.device), self.action_G] += 1
        advantage = reward - self.reward_mean
        self.weights_GAF += self.rate * advantage * surprise_GA[:, :, None] * self.observation_F
        self.reward_mean.lerp_(reward, 1 - _BASELINE)

    @torch.no_grad()
    def before_step(self, model: TaskNetwork, optimizer: optim.Optimizer, *, ce: Tensor, loss: Tensor) -> None:
        """Act at the start of a window, then set every group's learning rate.

        Args:
            model: Its head's weights are observed.
            optimizer: With one named group for each of ``groups``; the last is the head's.
            ce: Cross-entropy of this step.
            loss: Cross-entropy and the weighted divergence.
        """
        if int(self.step) % self.window == 0:
            self._close_window()
            self._act(model, ce, loss)
        self.loss_sum += loss
        self.step += 1
        base = optimizer.param_groups[-1]["base_lr"]
        for group, action in zip(optimizer.param_groups, self.action_G.tolist(), strict=True):
            group["lr"] = base * _MULTIPLIERS[action]

    def _close_window(self) -> None:
        if int(self.step) == 0:
            return
        mean = self.loss_sum / self.window
        if not self.loss_before.isnan():
            self.reinforce(1 - mean / self.loss_before)
        self.loss_before.copy_(mean)
        self.loss_sum.zero_()

    def _act(self, model: TaskNetwork, ce: Tensor, loss: Tensor) -> None:
        head = torch.cat([weight.flatten() for weight in model.head.parameters()])
        progress = self.step / self.steps
        seen = torch.stack([torch.ones_like(ce), ce, loss - ce, progress.to(ce.dtype), head.mean(), head.std()])
        self.observation_F.copy_(torch.cat([seen, self.action_G / (len(_MULTIPLIERS) - 1)]))
        generator = generator_for(self.seed, "asg-rates", int(self.step))
        drawn = self.probabilities(self.observation_F).cpu().multinomial(1, generator=generator)[:, 0]
        self.action_G.copy_(drawn)
