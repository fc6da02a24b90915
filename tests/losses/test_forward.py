import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from galc.losses.asl import AsymmetricLoss, asl_from_probability, uncalibrate
from galc.losses.forward import FORMS, ForwardASL, ForwardBCE, LiteralASL, corrupted, posterior
from galc.noise import Noise

K = 5
forms = pytest.mark.parametrize("form", FORMS)


def stochastic(generator, size=K, dtype=torch.float64):
    matrix = torch.rand(size, size, generator=generator, dtype=dtype) + torch.eye(size, dtype=dtype) * 2
    return matrix / matrix.sum(1, keepdim=True)


def oracle(form, q, transition):
    """The formulas of the three forms, one entry at a time."""
    noisy = torch.zeros_like(q)
    for n in range(len(q)):
        for j in range(q.shape[1]):
            s = sum(transition[i, j] * q[n, i] for i in range(q.shape[1]) if i != j)
            arrived = {
                "linear": s,
                "exact": (1 - q[n, j]) * s,
                "noisy-or": (1 - q[n, j]) * (1 - torch.exp(-torch.as_tensor(s))),
            }
            noisy[n, j] = transition[j, j] * q[n, j] + arrived[form]
    return noisy


@forms
def test_form_equals_the_literal_loop(form):
    generator = torch.Generator().manual_seed(1)
    q = torch.rand(4, K, generator=generator, dtype=torch.float64)
    transition = stochastic(generator)
    torch.testing.assert_close(corrupted(q, transition, form=form), oracle(form, q, transition))


@forms
def test_identity_leaves_probabilities_unchanged(form):
    q = torch.rand(4, K)
    torch.testing.assert_close(corrupted(q, torch.eye(K), form=form), q)


def test_linear_sends_row_i_to_the_columns_it_was_turned_into():
    transition = torch.tensor([[0.2, 0.8], [0.0, 1.0]])
    torch.testing.assert_close(
        corrupted(torch.tensor([[1.0, 0.0]]), transition, form="linear"), torch.tensor([[0.2, 0.8]])
    )


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_noisy_or_and_posterior_are_probabilities(seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.rand(6, K, generator=generator).round(decimals=1)  # 0 and 1 among them
    labels = torch.rand(6, K, generator=generator) < 0.5
    transition = stochastic(generator, dtype=torch.float32)
    for value in (corrupted(q, transition), posterior(q, labels, transition)):
        assert (value >= 0).all() and (value <= 1).all()


def test_forms_follow_a_simulation_of_independent_labels():
    generator = torch.Generator().manual_seed(0)
    size, draws = 20, 100_000
    q = torch.full((1, size), 0.05)
    q[0, :2] = torch.tensor([0.9, 0.5])
    transition = torch.full((size, size), 0.4 / (size - 1)).fill_diagonal_(0.6)
    clean = torch.rand(draws, size, generator=generator) < q
    observed = torch.zeros_like(clean)
    for i in range(size):
        target = torch.multinomial(transition[i], draws, replacement=True, generator=generator)
        wrong = clean[torch.arange(draws), target] & (target != i)  # would land on a label that is there
        hit = clean[:, i] & ~wrong
        observed[torch.arange(draws)[hit], target[hit]] = True
    for form in ("exact", "noisy-or"):
        assert (corrupted(q, transition, form=form)[0] - observed.float().mean(0)).abs().max() < 0.02
    assert corrupted(q, transition, form="linear")[0, 0] > observed.float().mean(0)[0]


def test_posterior_is_bayes_rule_by_enumeration():
    """Two states of label j, the arrivals of the others as independent Poisson events at rate s."""
    q = torch.tensor([[0.3, 0.6, 0.1]], dtype=torch.float64)
    transition = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    for observed in itertools.product([False, True], repeat=3):
        w = posterior(q, torch.tensor([observed]), transition)
        for j in range(3):
            none = torch.exp(-sum(transition[i, j] * q[0, i] for i in range(3) if i != j))
            present = q[0, j] * (transition[j, j] if observed[j] else 1 - transition[j, j])
            absent = (1 - q[0, j]) * ((1 - none) if observed[j] else none)
            torch.testing.assert_close(w[0, j], present / (present + absent))


def test_posterior_without_noise_is_the_observed_label():
    q = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.4, 0.4]])
    labels = torch.tensor([[True, True, False, False, True, False]])
    assert posterior(q, labels, torch.eye(6)).tolist() == labels.float().tolist()


@pytest.mark.parametrize("clamp", [True, False])
def test_literal_equals_the_papers_product_one_entry_at_a_time(clamp):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, K, generator=generator, dtype=torch.float64)
    targets = torch.rand(3, K, generator=generator) < 0.5
    matrix = torch.rand(K, K, generator=generator, dtype=torch.float64).sigmoid()  # no transition matrix
    expected = torch.zeros(3, K, dtype=torch.float64)
    for n in range(3):
        for j in range(K):
            p = sum(matrix[i, j] * logits[n, i].sigmoid() for i in range(K))
            p = min(p, torch.tensor(1.0).double()) if clamp else p
            rest = min(1 - p + 0.05, torch.tensor(1.0).double())
            positive = torch.log(p)
            negative = (1 - rest) ** 4 * torch.log(rest.clamp(min=1e-8))
            expected[n, j] = -positive if targets[n, j] else -negative
    loss = LiteralASL(matrix, clamp, reduction="none")(logits, targets)
    torch.testing.assert_close(loss, expected)
    assert ((logits.sigmoid() @ matrix) > 1.05).any()  # the case in which the two differ


def test_literal_clamped_has_no_gradient_where_the_product_exceeds_1():
    logits = torch.zeros(1, K, requires_grad=True)
    LiteralASL(torch.full((K, K), 0.6), clamp=True)(logits, torch.zeros(1, K)).backward()
    assert (logits.grad == 0).all()


@forms
def test_forward_asl_with_identity_is_plain_asl(form):
    logits = torch.linspace(-12, 12, 60).reshape(-1, K).requires_grad_()
    targets = (torch.arange(60).reshape(-1, K) % 3 == 0).float()
    losses = ForwardASL(torch.eye(K), form, reduction="none")(logits, targets)
    plain = AsymmetricLoss(reduction="none")(logits, targets)
    torch.testing.assert_close(losses, plain, rtol=1e-4, atol=1e-4)
    first, second = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (losses, plain))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


@forms
def test_forward_asl_is_the_asl_of_the_noisy_output(form):
    """At the clean optimum p = uncalibrate(q) the corrected output is the noisy optimum uncalibrate(q~)."""
    generator = torch.Generator().manual_seed(3)
    q = 0.05 + 0.5 * torch.rand(4, K, generator=generator, dtype=torch.float64)
    transition = stochastic(generator)
    targets = torch.rand(4, K, generator=generator) < 0.5
    noisy = corrupted(q, transition, form=form).clamp(max=1)
    losses = ForwardASL(transition, form, reduction="none")(torch.logit(uncalibrate(q)), targets)
    torch.testing.assert_close(losses, asl_from_probability(uncalibrate(noisy), targets))


@forms
def test_forward_bce_is_bce_of_the_noisy_probability(form):
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(6, K, generator=generator, dtype=torch.float64) - 2
    targets = torch.rand(6, K, generator=generator, dtype=torch.float64)
    transition = stochastic(generator)
    noisy = corrupted(logits.sigmoid(), transition, form=form).clamp(max=1 - 1e-6)
    expected = -(targets * noisy.log() + (1 - targets) * torch.log1p(-noisy))
    torch.testing.assert_close(ForwardBCE(transition, form, reduction="none")(logits, targets), expected)


@forms
def test_forward_bce_with_identity_is_plain_bce_at_any_logit(form):
    logits = torch.tensor([[-60.0, -20.0, 0.0, 20.0, 60.0]] * 2, requires_grad=True)
    targets = torch.tensor([[0.0], [1.0]]).expand(2, K)
    losses = ForwardBCE(torch.eye(K), form, reduction="none")(logits, targets)
    plain = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=1e-6)
    first, second = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (losses, plain))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@forms
@pytest.mark.parametrize("loss", [ForwardASL, ForwardBCE])
def test_losses_and_gradients_are_finite_at_extreme_logits(loss, form):
    generator = torch.Generator().manual_seed(5)
    values = torch.tensor([-100.0, -30.0, -5.0, 0.0, 5.0, 30.0, 100.0])
    logits = values[torch.randint(7, (200, K), generator=generator)].requires_grad_()
    targets = (torch.rand(200, K, generator=generator) < 0.5).float()
    flip = torch.eye(K).roll(1, 1)
    for transition in (torch.eye(K), flip, stochastic(generator, dtype=torch.float32), torch.full((K, K), 1 / K)):
        value = loss(transition, form)(logits, targets)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("loss", [ForwardASL, ForwardBCE])
def test_losses_are_float32_under_bf16_autocast(loss):
    logits = torch.randn(4, K).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(torch.eye(K))(logits, torch.ones(4, K))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(torch.eye(K))(logits.float(), torch.ones(4, K)))


def test_matrices_that_are_no_transition_are_refused_by_row():
    q = torch.full((1, K), 0.1)
    bad = torch.eye(K)
    bad[3, 0] = 0.5
    for call in (corrupted, lambda q, c: posterior(q, q > 0, c)):
        with pytest.raises(ValueError, match="row 3 of the transition"):
            call(q, bad)
        with pytest.raises(ValueError, match=r"must be \(5, 5\)"):
            call(q, torch.eye(4))
    for loss in (ForwardASL, ForwardBCE):
        with pytest.raises(ValueError, match="row 3 of the transition"):
            loss(bad)
        with pytest.raises(ValueError, match="form must be one of linear, exact, noisy-or, got 'or'"):
            loss(torch.eye(K), "or")
        with pytest.raises(ValueError, match=r"both be \(N, K\)"):
            loss(torch.eye(K))(q, q.T)
        with pytest.raises(ValueError, match=r'reduction must be "mean", "sum" or "none", got \'median\''):
            loss(torch.eye(K), reduction="median")
    with pytest.raises(ValueError, match="finite"):
        LiteralASL(bad / 0, clamp=True)
    with pytest.raises(ValueError, match="gamma_neg and gamma_pos must not be negative"):
        ForwardASL(torch.eye(K), gamma_neg=-1)


@pytest.mark.parametrize("make", [ForwardASL, ForwardBCE, lambda c, **own: LiteralASL(c, clamp=True, **own)])
def test_losses_are_averaged_over_the_batch_summed_or_left_as_they_are(make):
    generator = torch.Generator().manual_seed(6)
    logits, targets = torch.randn(4, K, generator=generator), (torch.rand(4, K, generator=generator) < 0.5).float()
    matrix = stochastic(generator)
    each = make(matrix, reduction="none")(logits, targets)
    assert each.shape == (4, K)
    torch.testing.assert_close(make(matrix)(logits, targets), each.sum(1).mean())
    torch.testing.assert_close(make(matrix, reduction="sum")(logits, targets), each.sum())


@pytest.mark.parametrize("make", [ForwardASL, ForwardBCE, lambda c: LiteralASL(c, clamp=True)])
def test_scores_that_are_not_finite_make_the_loss_so_and_are_no_error_of_the_step(make):
    """The loop names epoch and step at the epoch's end; a look at the values would make it wait for a GPU."""
    logits = torch.zeros(3, K)
    logits[1, 2] = torch.nan
    assert make(torch.eye(K))(logits, torch.zeros(3, K)).isnan()


# --- labels that vanish, and labels from nowhere -------------------------------------------------------------------


def losing_case(k=5, n=7):
    generator = torch.Generator().manual_seed(0)
    transition = torch.rand(k, k, generator=generator, dtype=torch.float64)
    removed, added = torch.rand(2, k, generator=generator, dtype=torch.float64) * 0.5
    model = Noise(transition / transition.sum(1, keepdim=True), removed, added)
    return torch.rand(n, k, generator=generator, dtype=torch.float64), model


def literal_form(form, q, matrix, added):
    out = torch.zeros_like(q)
    for n in range(len(q)):
        for j in range(len(added)):
            s = sum(float(q[n, i] * matrix[i, j]) for i in range(len(added)) if i != j)
            p, a = float(q[n, j]), float(added[j])
            arrived = {
                "linear": s + (1 - p) * a,
                "exact": (1 - p) * (s + a),
                "noisy-or": (1 - p) * (1 - (1 - a) * math.exp(-s)),
            }
            out[n, j] = matrix[j, j] * p + arrived[form]
    return out


@pytest.mark.parametrize("form", FORMS)
def test_forms_with_removed_and_added_labels_are_the_slow_loop(form):
    q, model = losing_case()
    found = corrupted(q, model.arrivals, model.added, form)
    torch.testing.assert_close(found, literal_form(form, q, model.arrivals, model.added))
    none = torch.zeros(5)
    torch.testing.assert_close(corrupted(q, model.transition, none, form), corrupted(q, model.transition, form=form))


@pytest.mark.parametrize("form", FORMS)
def test_forward_losses_with_added_labels_are_those_of_their_form(form):
    q, model = losing_case()
    q = q * 0.2  # so that linear and exact stay below 1
    targets = (torch.rand(q.shape, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    noisy = corrupted(q, model.arrivals, model.added, form)
    logits = torch.logit(q)
    found = ForwardBCE(model.arrivals, form, model.added, reduction="none")(logits, targets)
    torch.testing.assert_close(found, torch.nn.functional.binary_cross_entropy(noisy, targets, reduction="none"))
    p = torch.logit(uncalibrate(q))
    found = ForwardASL(model.arrivals, form, model.added, "none", gamma_neg=4.0, gamma_pos=0.0, clip=0.05)(p, targets)
    without = ForwardASL(model.arrivals, form, reduction="none")(p, targets)
    assert torch.isfinite(found).all() and not torch.equal(found, without)


def test_marginals_of_injected_labels_follow_the_exact_form_where_labels_are_rare():
    generator = torch.Generator().manual_seed(2)
    clean = torch.rand(50_000, 5, generator=generator) < 0.05
    clean[clean.all(1), 0] = False
    _, model = losing_case()
    model = Noise(model.transition, model.removed, model.added * 0.1)
    noisy = model.inject(clean, 0).noisy.double().mean(0)
    q = clean.double().mean(0)[None]
    for form in FORMS:
        torch.testing.assert_close(corrupted(q, model.arrivals, model.added, form)[0], noisy, rtol=0.12, atol=0)


def test_the_posterior_of_missing_and_of_added_labels_is_bayes_rule():
    q, eye, zero = torch.full((1, 2), 0.3, dtype=torch.float64), torch.eye(2).double(), torch.zeros(2)
    seen = torch.tensor([[True, False]])
    missing = posterior(q, seen, 0.6 * eye)  # 40 % vanish, none appears
    torch.testing.assert_close(missing, torch.tensor([[1, 0.3 * 0.4 / (0.3 * 0.4 + 0.7)]]).double())
    added = posterior(q, seen, eye, zero + 0.2)  # none vanishes, 20 % appear
    torch.testing.assert_close(added, torch.tensor([[0.3 / (0.3 + 0.7 * 0.2), 0]]).double())


def test_rows_that_exceed_one_and_rates_that_are_none_are_refused():
    q = torch.full((2, 3), 0.2)
    with pytest.raises(ValueError, match=r"row 1 .* does not sum to at most 1"):
        corrupted(q, torch.eye(3) + torch.tensor([[0.0] * 3, [0.1, 0, 0], [0.0] * 3]))
    with pytest.raises(ValueError, match=r"added: rates lie in \[0, 1\], got -0.1 for class 2"):
        corrupted(q, torch.eye(3), torch.tensor([0, 0, -0.1]))
