"""ASG's learned schedule: the policy's gradient against autograd, what it learns, and what it sets."""

import pytest
import torch

from csg_train.engine.loop import _Run
from csg_train.methods.learned_rates import RatePolicy
from csg_train.recipes.sections import Recipe

CPU = torch.device("cpu")


def policy(groups: int = 3, **fields: object) -> RatePolicy:
    options = {"seed": 0, "steps": 100, "window": 5, "rate": 0.1} | fields
    return RatePolicy([f"g{index}" for index in range(groups)], **options)


def test_update_is_the_gradient_of_the_drawn_actions_log_probability():
    ours = policy()
    generator = torch.Generator().manual_seed(1)
    ours.weights_GAF.normal_(generator=generator)
    ours.observation_F.normal_(generator=generator)
    ours.action_G.copy_(torch.tensor([2, 10, 0]))
    ours.reward_mean.fill_(0.25)
    weights = ours.weights_GAF.clone().requires_grad_()
    chosen = (weights @ ours.observation_F).log_softmax(dim=1)[torch.arange(3), ours.action_G].sum()
    (gradient,) = torch.autograd.grad(chosen, weights)
    ours.reinforce(torch.tensor(0.75))
    torch.testing.assert_close(ours.weights_GAF, (weights + 0.1 * 0.5 * gradient).detach())
    assert ours.reward_mean.item() == pytest.approx(0.9 * 0.25 + 0.1 * 0.75)


def test_the_first_reward_sets_the_baseline_and_moves_nothing():
    ours = policy()
    ours.observation_F.fill_(1)
    ours.reinforce(torch.tensor(3.0))
    assert not ours.weights_GAF.any()
    assert ours.reward_mean.item() == 3


def test_it_learns_which_action_pays():
    """A bandit: multiplier 0.3 of the first group gives 1, all others give 0; the second group does not matter."""
    ours = policy(groups=2, rate=0.5)
    ours.observation_F[0] = 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(1500):
        ours.action_G.copy_(ours.probabilities(ours.observation_F).multinomial(1, generator=generator)[:, 0])
        ours.reinforce((ours.action_G[0] == 3).float())
    learned = ours.probabilities(ours.observation_F)
    assert learned[0, 3] > 0.9
    assert learned.sum(dim=1).tolist() == pytest.approx([1, 1])


def learned_run(recipe_dict: dict, tmp_path, **train: object) -> _Run:
    recipe_dict["method"] = {"name": "asg", "rates": "learned", "window": 2}
    return _Run(Recipe.model_validate(recipe_dict | {"train": recipe_dict["train"] | train}), tmp_path, CPU)


def test_rates_are_multiples_of_the_heads_and_hold_for_a_window(recipe_dict, tmp_path):
    run = learned_run(recipe_dict, tmp_path, steps=6)
    batches = run._batches()
    rates = []
    for _ in range(6):
        run._train_step(next(batches))
        rates.append([group["lr"] for group in run.optimizer.param_groups])
    assert len(rates[0]) == 7  # conv1, bn1, layer1 to layer4, head
    assert rates[0] == rates[1]
    assert rates[2] == rates[3]
    assert rates[4] == rates[5]
    assert len({tuple(row) for row in rates}) == 3
    tenths = torch.tensor(rates) / run.recipe.train.lr_head * 10
    torch.testing.assert_close(tenths, tenths.round())
    assert tenths.max() <= 10


def test_the_policy_sees_the_step_the_losses_the_head_and_its_last_action(recipe_dict, tmp_path):
    run = learned_run(recipe_dict, tmp_path, steps=6)
    batches = run._batches()
    for _ in range(2):
        run._train_step(next(batches))
    last = run.method.policy.action_G.clone()
    head = torch.cat([weight.detach().flatten() for weight in run.network.head.parameters()])
    run._train_step(next(batches))
    losses = run.unlogged[-1]
    expected = [1, losses["ce"], losses["asg_kl"], 2 / 6, head.mean(), head.std(), *(last / 10)]
    assert run.method.policy.observation_F.tolist() == pytest.approx([float(one) for one in expected], abs=1e-6)


def test_reward_is_the_relative_fall_of_the_windows_mean_loss(recipe_dict, tmp_path, monkeypatch):
    run = learned_run(recipe_dict, tmp_path, steps=8)
    rewards: list[float] = []
    monkeypatch.setattr(run.method.policy, "reinforce", lambda reward: rewards.append(reward.item()))
    batches = run._batches()
    for _ in range(7):
        run._train_step(next(batches))
    losses = [row["loss"].item() for row in run.unlogged]
    windows = [sum(losses[start : start + 2]) / 2 for start in (0, 2, 4)]
    assert rewards == pytest.approx([1 - windows[1] / windows[0], 1 - windows[2] / windows[1]], rel=1e-4)
