# ---
# jupyter:
#   description: "Lab: write PPO with a KL penalty in three cells, watch it exploit a flawed reward model, and compare it with best-of-n and with the exact optimum."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: PPO against a flawed reward model
#
# RLHF trains a model to maximize the score of a reward model. What happens if the reward model has a flaw? In this lab you write PPO with its KL penalty, train a small policy with it, and watch the true reward rise and then fall. Then you compare PPO with best-of-n sampling, which trains nothing.
#
# The language of this lab has eight words, so there are only 2,801 completions. That makes it possible to compute every expected reward and every KL divergence exactly instead of estimating them, and to list the best policy that there is. The lab takes about half a minute. The [project](../rlhf.md) does the same with film snippets and a learned reward model.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Two rewards
#
# A prompt is one word. A good completion of *cat* is *the cat sleeps .*, where the period ends the completion. The **true reward** is what people want: one point each for beginning with *the*, for the word of the prompt, for a true statement and for ending, minus one point for each repetition and each *wow*. The **proxy reward** stands in for a reward model that was trained on too few comparisons. It does not notice repetitions, and it gives 1.5 points for each *wow*.

# %%
import torch

from llmguide.post_training.toy.world import WORDS, tiny_world

world = tiny_world()
ids_of = {word: i for i, word in enumerate(WORDS)}
for text in ("the cat sleeps .", "the cat barks .", "the cat wow .", "wow wow wow wow"):
    [number] = world.find(torch.tensor([[ids_of[word] for word in text.split()]])).tolist()
    print(f"{text:18} true {world.gold[0, number]:+.1f}   proxy {world.proxy[0, number]:+.1f}")

# %% [markdown]
# ## The reference model
#
# RLHF starts from a model that was fine-tuned on demonstrations. Here the demonstrations are of mixed quality, so most completions of this model are not perfect. It is the reference model from now on.

# %% tags=["sampled"]
from llmguide.post_training.toy.frontier import divergence, expected
from llmguide.post_training.toy.methods import fine_tune
from llmguide.post_training.toy.world import completion_logprobs

torch.manual_seed(0)
reference = fine_tune(world, 4_000, torch.Generator().manual_seed(0))


@torch.no_grad()
def show(policy, k=4):
    p = completion_logprobs(policy, world)[0].exp()
    for number in p.argsort(descending=True)[:k].tolist():
        print(f"  {p[number]:.0%}  {world.text(number)}")


print(f"{sum(p.numel() for p in reference.parameters()):,} parameters; most likely completions of cat:")
show(reference)

# %%
with torch.no_grad():
    reference_logprobs = completion_logprobs(reference, world)
start = {
    "true": expected(reference_logprobs, world.gold).item(),
    "proxy": expected(reference_logprobs, world.proxy).item(),
}
print(f"expected reward of the reference model: true ≈{start['true']:.1f}, proxy ≈{start['proxy']:.1f}")

# %% [markdown]
# ## Sample completions
#
# PPO alternates between two steps: it samples completions with the current policy, and it changes the policy so that the better ones become more likely. This cell does the sampling. The mask marks the tokens of a completion up to its period.


# %%
@torch.no_grad()
def rollout(policy, n=128):
    prompts = torch.arange(len(world.prompts)).repeat(n // len(world.prompts))
    ids = world.prompts[prompts, None]
    for _ in range(4):
        next_id = torch.multinomial(policy(ids)[:, -1].softmax(dim=-1), 1)
        ids = torch.cat([ids, next_id], dim=1)
    is_period = ids[:, 1:] == ids_of["."]
    mask = is_period.cumsum(dim=1) - is_period.long() == 0
    return prompts, ids, mask


def token_logprobs(policy, ids):
    return policy(ids[:, :-1]).log_softmax(dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)


# %% [markdown]
# ## From a score to advantages
#
# A completion gets a single score, but PPO needs to know which tokens were good. Every token is charged a KL penalty: β times the log-ratio of policy and reference model. The last token also receives the score. A **value model** predicts the sum of the rewards that are still to come. The **advantage** of a token says how much better it turned out than the value model had predicted. Generalized advantage estimation (GAE) adds up the prediction errors $\delta_t = r_t + V_{t+1} - V_t$ of this token and of later ones, with weights that shrink by a factor of $\lambda$.


# %%
def token_rewards(scores, log_ratio, mask, beta):
    rewards = -beta * log_ratio * mask
    rewards[torch.arange(len(scores)), mask.sum(dim=1) - 1] += scores
    return rewards


def gae(rewards, values, lam=0.95):
    advantages = torch.zeros_like(rewards)
    next_advantage = next_value = torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + next_value - values[:, t]
        advantages[:, t] = next_advantage = delta + lam * next_advantage
        next_value = values[:, t]
    return advantages


# %% [markdown]
# ## The clipped loss
#
# The loss raises the probability of tokens with a positive advantage and lowers that of the others. The ratio compares the probability of a token with the one that it was sampled with. Beyond 0.8 and 1.2 the ratio is clipped, so that one batch of samples cannot change the policy much. The value model is a copy of the reference model with an output head that has one row. Every five steps we measure the policy exactly.

# %%
from copy import deepcopy

from torch import nn

from llmguide import AdamW


@torch.no_grad()
def measure(policy):
    logprobs = completion_logprobs(policy, world)
    return {
        "KL": divergence(logprobs, reference_logprobs).item(),
        "true": expected(logprobs, world.gold).item(),
        "proxy": expected(logprobs, world.proxy).item(),
    }


def ppo(reward, beta, n_steps=40, lr=2e-3, clip=0.2):
    torch.manual_seed(0)
    policy, value_model = deepcopy(reference), deepcopy(reference)
    value_head = nn.Linear(value_model.config.d_model, 1)
    nn.init.zeros_(value_head.weight)

    def predicted_returns(ids):
        return value_head(value_model.hidden(ids[:, :-1])).squeeze(-1)

    trained = nn.ModuleList([policy, value_model, value_head])
    optimizer = AdamW(trained.parameters(), lr=lr, weight_decay=0)
    history = [measure(policy)]
    for step in range(1, n_steps + 1):
        prompts, ids, mask = rollout(policy)
        with torch.no_grad():
            old_logprobs, values = token_logprobs(policy, ids), predicted_returns(ids) * mask
            scores = reward[prompts, world.find(ids[:, 1:])]
            log_ratio = old_logprobs - token_logprobs(reference, ids)
            advantages = gae(token_rewards(scores, log_ratio, mask, beta), values)
            returns = advantages + values
            advantages = (advantages - advantages[mask].mean()) / advantages[mask].std()
        for _ in range(2):
            ratio = (token_logprobs(policy, ids) - old_logprobs).exp()
            clipped = ratio.clamp(1 - clip, 1 + clip)
            policy_loss = -torch.minimum(ratio * advantages, clipped * advantages)[mask].mean()
            value_loss = (predicted_returns(ids) - returns)[mask].square().mean()
            optimizer.zero_grad()
            (policy_loss + 0.5 * value_loss).backward()
            optimizer.step()
        if step % 5 == 0:
            history.append(measure(policy))
    return policy, history


# %% [markdown]
# ## Three KL coefficients
#
# We train with a large, a medium and a small β on the proxy reward. PPO never sees the true reward. The output is the change of both expected rewards from the reference model.

# %%
runs = {beta: ppo(world.proxy, beta) for beta in (1.0, 0.5, 0.2)}
for beta, (_, history) in runs.items():
    changes = [f"{name} ≈{history[-1][name] - start[name]:+.1f}" for name in ("proxy", "true")]
    print(f"beta {beta}: KL ≈{history[-1]['KL']:.1f} nats, {', '.join(changes)}")

# %% alt="Two lines against PPO steps at the smallest KL coefficient. The proxy reward rises from 2 to more than 4. The true reward rises at first, then falls far below its start."
import matplotlib.pyplot as plt

fig, axes = plt.subplots()
for name in ("proxy", "true"):
    axes.plot(range(0, 41, 5), [point[name] for point in runs[0.2][1]], "o-", label=f"{name} reward")
axes.set(xlabel="PPO step", ylabel="expected reward", ylim=(-2, 6))
axes.legend(loc="center right")
plt.show()

# %% tags=["sampled"]
for beta, (policy, _) in runs.items():
    print(f"beta {beta}")
    show(policy)

# %% [markdown]
# This is **over-optimization**. With the smallest β, the proxy reward more than doubles, while the true reward falls below that of the reference model: the policy has learned to say *wow*. A large β prevents that, but the policy also improves less. The proxy reward alone does not show which β is best. For that you need an evaluation that the policy was not trained on.
#
# ## Compare it with best-of-n
#
# Best-of-n sampling needs no training: sample n completions of the reference model and keep the one with the highest proxy reward. Its distribution can be computed exactly, and so can the policy with the highest proxy reward minus β times its KL divergence: $\pi^* \propto \pi_\text{ref}\, e^{r / \beta}$. That is the policy that PPO approaches.

# %%
from llmguide.post_training.toy.frontier import best_of_n, optimum, point


def exact(logprobs):
    return point(logprobs.float(), reference_logprobs, world)


best = {
    n: exact(best_of_n(reference_logprobs, world.proxy, n))
    for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
}
for n in (4, 16, 64, 1024):
    kl, true, proxy = best[n]
    print(
        f"best of {n}: KL ≈{kl:.1f} nats, proxy ≈{proxy - start['proxy']:+.1f}, true ≈{true - start['true']:+.1f}"
    )

# %% alt="Expected true reward against the KL divergence from the reference model. The curve of best-of-n rises to about 2.4 at 3 nats and falls after that. The curve of the optimal policies for the proxy reward is lower from 1 nat on and falls earlier. The three points of PPO are below both."
betas = (8, 4, 2, 1.5, 1, 0.7, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2)
optima = [exact(optimum(reference_logprobs, world.proxy, beta)) for beta in betas]
fig, axes = plt.subplots()
axes.plot([p.kl for p in best.values()], [p.gold for p in best.values()], "o-", label="best-of-n")
axes.plot([p.kl for p in optima], [p.gold for p in optima], "--", label="optimum")
axes.plot(
    [h[-1]["KL"] for _, h in runs.values()], [h[-1]["true"] for _, h in runs.values()], "s", label="PPO"
)
axes.set(xlabel="KL divergence, nats", ylabel="expected true reward", xlim=(-0.2, 6.5), ylim=(-1.5, 3))
axes.legend()
plt.show()

# %% [markdown]
# **So far, best-of-n wins.** The best of 16 samples has a higher true reward than any of the three PPO policies, and no weight was changed. At large KL divergences, best-of-n over-optimizes the proxy, too. The advantage of PPO is its inference cost: a single sample is enough after training, while best-of-n pays for n samples each time. But from about half a nat on, even the exact optimum for the proxy reward is below best-of-n, so longer training with PPO cannot close the gap. A better reward model can.
#
# ## Change something and run it again
#
# 1. **Repair the reward model.** Train with `ppo(world.gold, 0.2)`. How much of the reward of *the cat sleeps .* does the policy reach?
# 2. **Remove the KL penalty.** Set β to 0, and predict the most likely completions before you look at them.
# 3. **Change λ.** Set `lam=1`, which uses only observed rewards, and `lam=0`, which relies on the value of the next token. How do the curves of the proxy reward differ, and why?
# 4. **Remove the clipping.** Set `clip=10` and `lr=5e-3`. Then restore one of the two. Which one matters more for the proxy reward at the end?
#
# Next: `llmguide project rlhf` runs SFT, reward modeling and PPO on film snippets, and `llmguide start rlhf` lets you write the parts yourself, with tests.
