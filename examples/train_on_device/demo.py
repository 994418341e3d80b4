"""The demo: a network that knows eight digits learns the other two on an emulated Cortex-M4.

Every step of training runs on the emulator, in one firmware; the same code on this machine takes
the same steps, to the bit, and measures accuracies.
"""

import numpy as np
from network import Digits, load_data, quantize, train

import tvm_tiny
from tvm_tiny.targets.target import resolve
from tvm_tiny.training.firmware import TrainingFirmware
from tvm_tiny.training.fit_plan import most_last_layers

TARGET, SRAM = "mps2-an386", 128 * 1024
OLD, NEW = tuple(range(8)), (8, 9)
SAMPLES, REPLAYED = 100, 25  # of each new class, and of each old one so that it is not forgotten
EPOCHS, RATE, WARM_UP = 3, 0.016, 0.1
CALIBRATION = 200
TIMEOUT_S = 1800.0
SEED = 0


def sequence() -> tuple[Digits, np.ndarray]:
    """What is shown to the firmware, each epoch in another order, and the learning rates."""
    known, _ = load_data()
    old = known.only(OLD).first_of_each(REPLAYED)
    data = known.only(NEW).first_of_each(SAMPLES).with_more(old)
    generator = np.random.default_rng(SEED)
    count = len(data.classes)
    order = np.concatenate([generator.permutation(count) for _ in range(EPOCHS)])
    progress = np.arange(len(order)) / len(order)
    rates = RATE * np.minimum(1, progress / WARM_UP) * (1 - progress)
    return Digits(data.images[order], data.classes[order]), rates.astype(np.float32)


def accuracies(firmware: TrainingFirmware, test: Digits) -> list[float]:
    """Of old classes and of new ones, by inferences with the weights as they are."""
    parts = [test.only(OLD), test.only(NEW)]
    return [firmware.accuracy(part.images, part.classes) for part in parts]


def same_steps_here(firmware: TrainingFirmware, shown: Digits, rates: np.ndarray) -> np.ndarray:
    """The losses of the same steps on this machine."""
    steps = zip(shown.images, shown.classes, rates, strict=True)
    losses = [
        firmware.train_step(image[np.newaxis], int(known), float(rate))
        for image, known, rate in steps
    ]
    return np.array(losses, np.float32)


def prepare() -> tuple[TrainingFirmware, Digits]:
    """Train in float, quantise, plan and build; the firmware, and what to test it with."""
    data, test = load_data()
    print(f"Training in float, without the digits {NEW} ...")
    net = train(data.only(OLD), len(OLD))
    model = quantize(net, data.only(OLD).images[:CALIBRATION])
    target = resolve(TARGET, SRAM)
    plan = most_last_layers(model, target)
    print(
        f"{SRAM:,} bytes have room to train the last {plan.last_weights} layers and the classifier"
    )
    return tvm_tiny.build_training(model, target, update=plan, name="digits"), test


def main() -> None:
    """Train on the emulator and here, compare, test, and print."""
    firmware, test = prepare()
    before = accuracies(firmware, test)
    shown, rates = sequence()
    print(f"Training on the emulator, {len(rates)} steps (some minutes) ...")
    steps = firmware.run_steps(shown.images, shown.classes, rates, timeout_s=TIMEOUT_S)
    losses = same_steps_here(firmware, shown, rates)
    is_exact = np.array_equal(losses, steps.losses) and all(
        np.array_equal(values, steps.weights[name]) for name, values in firmware.weights.items()
    )
    after = accuracies(firmware, test)

    memory = firmware.memory(steps.first.stack_bytes or 0)
    print(f"SRAM            {memory['sram_bytes']:,} bytes of {SRAM:,}")
    print(f"  arena         {memory['arena_bytes']:,}")
    print(f"  trained       {memory['trainable_bytes']:,}")
    print(f"  stack         {memory['stack_bytes']:,}")
    print(f"Flash           {memory['flash_bytes']:,} bytes")
    print(f"instructions    {steps.first.instructions:,} (exact, one step)")
    print(f"loss            {np.mean(losses[:100]):.3f} -> {np.mean(losses[-100:]):.3f}")
    print(f"same bits here  {'yes' if is_exact else 'NO'}")
    print(f"old classes     {before[0]:.1%} -> {after[0]:.1%}")
    print(f"new classes     {before[1]:.1%} -> {after[1]:.1%}")


if __name__ == "__main__":
    main()
