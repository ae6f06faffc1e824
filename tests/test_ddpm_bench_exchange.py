"""Parts exchanged: what is put in and what is not, the same parameters and numbers, and who follows the choice."""

from __future__ import annotations

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn

from ddpm_bench import checkpoint, operators, unet_blocks
from ddpm_bench.config import DiffusionConfig, TrainConfig
from ddpm_bench.data import load
from ddpm_bench.device import MODES, compiled
from ddpm_bench.exchange import exchanged
from ddpm_bench.group_norm import ComposedGroupNorm
from ddpm_bench.operators import PLAIN, Operators
from ddpm_bench.subject import MindSporeSubject
from ddpm_bench.train import Trainer
from ddpm_bench.unet import UNet, preset
from ddpm_bench.upsampling import FoldedNearest
from ddpm_bench.winograd import WinogradConvolution, suits

NETWORK = preset("digits", base_channels=4, groups=2, channel_mult=(1, 1), attention_at=(4,), dropout=0.0)
NORM, UPSAMPLE, BOTH = Operators(norm=True), Operators(upsample=True), Operators(norm=True, upsample=True)
CONV, ALL = Operators(conv=1), Operators(norm=True, upsample=True, conv=1)
WAYS = (PLAIN, NORM, UPSAMPLE, BOTH, CONV, ALL, Operators(clip=True))


def kinds(network: nn.Cell) -> set[type]:
    return {type(cell) for _, cell in network.cells_and_names()}


def made_of(network: nn.Cell) -> Operators:
    """The ways that a network goes. Fails where it goes both."""
    found = kinds(network)
    assert (ComposedGroupNorm in found) != (nn.GroupNorm in found)
    assert (FoldedNearest in found) != (unet_blocks.Nearest in found)
    wide = {type(cell) for _, cell in network.cells_and_names() if type(cell) is WinogradConvolution
            or (type(cell) is nn.Conv2d and suits(cell, 1))}  # fmt: skip
    assert len(wide) == 1
    return Operators(
        norm=ComposedGroupNorm in found, upsample=FoldedNearest in found, conv=int(WinogradConvolution in wide)
    )


@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_every_part_of_a_kind_is_exchanged_and_no_other(ways: Operators) -> None:
    network = UNet(NETWORK)
    assert exchanged(network, ways) is network
    assert made_of(network) == Operators(norm=ways.norm, upsample=ways.upsample, conv=ways.conv)


@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_parameters_are_the_very_ones_under_the_same_names(ways: Operators) -> None:
    network = UNet(NETWORK, seed=3)
    before = list(network.parameters_and_names())
    full_names = [parameter.name for _, parameter in before]
    after = list(exchanged(network, ways).parameters_and_names())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(new is old for (_, new), (_, old) in zip(after, before, strict=True))
    assert [parameter.name for _, parameter in after] == full_names


def test_group_norms_share_what_they_compute_within_a_network_and_not_beyond() -> None:
    """What is shared is compiled once; one of another eps, or of another network, is another one."""

    def computing(network: nn.Cell) -> dict[str, int]:
        cells = {path: cell for path, cell in network.cells_and_names() if type(cell) is ComposedGroupNorm}
        return {path: id(cell.normalise) for path, cell in cells.items()}

    network, other = UNet(NETWORK), UNet(NETWORK)
    network.norm_out = nn.GroupNorm(2, 4, eps=0.5)
    one, two = computing(exchanged(network, NORM)), computing(exchanged(other, NORM))
    assert len(one) > 5
    apart = one.pop("norm_out")
    assert len(set(one.values())) == len(set(two.values())) == 1
    assert apart not in one.values()
    assert set(one.values()).isdisjoint(two.values())
    assert network.norm_out.normalise.eps == 0.5


def test_part_that_somebody_has_altered_stays() -> None:
    network = UNet(NETWORK)
    network.norm_out.construct = lambda x: x
    exchanged(network, BOTH)
    assert type(network.norm_out) is nn.GroupNorm
    assert type(network.middle.block_1.norm_1) is ComposedGroupNorm


@pytest.mark.parametrize(
    "part",
    [nn.GroupNorm(2, 4), unet_blocks.Nearest(4), unet_blocks.conv(4, 8)],
    ids=lambda cell: type(cell).__name__,
)
def test_single_part_becomes_another_with_the_very_parameters(part: nn.Cell) -> None:
    before = dict(part.parameters_and_names())
    other = exchanged(part, ALL)
    assert type(other) in (ComposedGroupNorm, FoldedNearest, WinogradConvolution)
    after = dict(other.parameters_and_names())
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)


def test_choices_of_a_part_are_kept() -> None:
    network = UNet(NETWORK)
    norm = network.norm_out
    norm.eps, norm.num_groups = 0.25, 1
    exchanged(network, NORM)
    assert (network.norm_out.normalise.eps, network.norm_out.normalise.num_groups) == (0.25, 1)


def test_transposed_upsampling_has_one_way_only() -> None:
    network = UNet(preset("digits", base_channels=4, groups=2, channel_mult=(1, 1), upsample="transposed"))
    assert unet_blocks.Transposed in kinds(exchanged(network, BOTH))


@pytest.mark.parametrize("training", [True, False])
def test_training_or_not_is_kept(training: bool) -> None:
    network = UNet(NETWORK)
    network.set_train(training)
    assert {cell.training for _, cell in exchanged(network, BOTH).cells_and_names()} == {training}


@pytest.mark.parametrize("mode", MODES)
def test_forward_passes_agree_whatever_is_chosen(mode: str) -> None:
    """With all weights of size one tenth; 30 layers whose sums differ in order by 1e-6 of their largest each."""
    x, t = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype(np.float32), np.array([1, 500], np.int32)
    outputs = []
    for ways in WAYS[:-1]:
        network = exchanged(UNet(NETWORK), ways)
        random = np.random.default_rng(2)
        for parameter in network.get_parameters():
            parameter.set_data(Tensor(0.1 * random.standard_normal(parameter.shape).astype(np.float32)))
        outputs.append(compiled(network, mode)(Tensor(x), Tensor(t)).asnumpy())
    for output in outputs:
        np.testing.assert_allclose(output, outputs[0], rtol=0, atol=3e-5 * np.abs(outputs[0]).max())


def test_only_convolutions_of_so_many_channels_are_exchanged_and_many_tiles_asked_of_them() -> None:
    cells = {8: unet_blocks.conv(8, 16), 9: unet_blocks.conv(9, 16), 10: unet_blocks.conv(16, 8)}
    made = {channels: exchanged(cell, Operators(conv=9)) for channels, cell in cells.items()}
    assert [type(cell) is WinogradConvolution for cell in made.values()] == [False, True, False]
    assert made[9].fewest_tiles == 4


def test_upsampling_has_its_convolution_exchanged_with_it_or_by_itself() -> None:
    folded, plain = exchanged(unet_blocks.Nearest(4), ALL), exchanged(unet_blocks.Nearest(4), CONV)
    assert WinogradConvolution not in kinds(folded)
    assert type(plain) is unet_blocks.Nearest
    assert type(plain.conv) is WinogradConvolution


# Who follows the choice -----------------------------------------------------------------------------------------------

DIFFUSION = DiffusionConfig(num_timesteps=4, beta_end=0.5)
CHOICE = "norm:graph,upsample:pynative"
FOLLOWED = {"graph": NORM, "pynative": UPSAMPLE}


def run(mode: str) -> TrainConfig:
    return TrainConfig(network=NETWORK, diffusion=DIFFUSION, steps=2, batch_size=4, mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_training_and_sampling_follow_the_choice_for_their_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(operators.VARIABLE, CHOICE)
    seen: list[Operators] = []
    monkeypatch.setattr("ddpm_bench.train.exchanged", lambda network, ways: seen.append(ways) or network)
    trainer = Trainer(run(mode), load("digits"))
    assert seen == [FOLLOWED[mode]]
    assert made_of(checkpoint.network(run(mode), trainer.average())) == FOLLOWED[mode]


@pytest.mark.parametrize("mode", ["graph", "pynative", "whole_graph"])
def test_judge_sees_the_choice_for_its_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(operators.VARIABLE, CHOICE)
    seen: list[Operators] = []
    monkeypatch.setattr("ddpm_bench.subject_network.exchanged", lambda network, ways: seen.append(ways) or network)
    assert MindSporeSubject(mode=mode, seed=77).network_config["in_channels"] == 1
    assert seen == [FOLLOWED["pynative" if mode == "pynative" else "graph"]]


def test_subject_has_one_choice_in_all_modes_and_so_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(operators.VARIABLE, CHOICE)
    random = np.random.default_rng(6)
    x, t = random.standard_normal((1, 1, 8, 8)).astype(np.float32), np.array([3])
    outputs = {}
    for mode in ("graph", "pynative"):
        subject = MindSporeSubject(mode=mode, seed=79)
        modes = [each.network(x, t) for each in subject.counterparts().values()]
        assert all(np.array_equal(output, modes[0]) for output in modes)
        assert np.array_equal(subject.variant(num_timesteps=10).network(x, t), modes[0])
        outputs[mode] = modes[0]
    assert not np.array_equal(*outputs.values()), "a choice that changes nothing shows nothing"
    np.testing.assert_allclose(*outputs.values(), rtol=0, atol=1e-4)


def test_judge_has_narrow_networks_go_the_way_of_wide_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what was chosen for the wide ones of the paper's net would pass unseen."""
    monkeypatch.setenv(operators.VARIABLE, "conv128")
    seen: list[Operators] = []
    monkeypatch.setattr("ddpm_bench.subject_network.exchanged", lambda network, ways: seen.append(ways) or network)
    assert MindSporeSubject(mode="graph", seed=78).network_config["in_channels"] == 1
    assert seen == [Operators(conv=1)]


def test_run_begun_with_one_choice_goes_on_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step from the same checkpoint: loss and gradient as far as some thirty layers' rounding allows."""
    images = load("digits")

    def stepped(choice: str, start: checkpoint.Checkpoint | None) -> checkpoint.Checkpoint:
        monkeypatch.setenv(operators.VARIABLE, choice)
        trainer = Trainer(run("pynative"), images)
        if start:
            trainer.restore(start)
        trainer.advance()
        return trainer.snapshot()

    first = stepped("native", None)
    native, other = stepped("native", first), stepped("norm,upsample,clip", first)
    assert other.losses == pytest.approx(native.losses, rel=1e-5)
    largest = max(np.abs(moment).max() for moment in native.moment_1.values())
    for name, moment in native.moment_1.items():
        np.testing.assert_allclose(other.moment_1[name], moment, rtol=0, atol=1e-5 * largest, err_msg=name)


def test_graph_of_exchanged_parts_holds_every_parameter_once() -> None:
    """Training clones all Parameters by their names: two of one name would be refused."""
    network = exchanged(UNet(NETWORK), BOTH)
    names = [parameter.name for parameter in network.trainable_params()]
    assert len(names) == len(set(names))
    mindspore.ParameterTuple(network.trainable_params()).clone("copy", init="same")
