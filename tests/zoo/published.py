"""Published networks of the shared models by the names that papers give them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.shared import shared_path
from tvm_tiny import zoo
from tvm_tiny.zoo import Architecture

FOLDER = ("models", "mcunet")


def architecture(stem: str) -> Architecture:
    """Return the network of a JSON file; skip the test where it is absent."""
    return zoo.from_config(shared_path(*FOLDER, f"{stem}.json"))


@dataclass(frozen=True)
class Published:
    """A network and what its authors' tools say of it; `peak` counts depthwise in place."""

    file: str
    resolution: int
    macs: str  # in millions, to the last digit that is given; "" where none is
    parameters: str
    peak: int
    tinyengine_kb: str  # A + im2col buffers + runtime

    @property
    def net(self) -> Architecture:
        """The architecture at its resolution."""
        return architecture(self.file).at(self.resolution)


MCUNET = {
    # the authors' scheduler has 48.5 here: 1 kB more than its formula, in this network alone
    "mcunet-in0": Published("mcunet-10fps_imagenet", 48, "6.36", "0.750", 46_080, "47.4"),
    "mcunet-in1": Published("mcunet-5fps_imagenet", 96, "12.79", "0.636", 92_160, "95.7"),
    "mcunet-in2": Published("mcunet-256kb-1mb_imagenet", 160, "67.29", "0.729", 204_800, "214.6"),
    "mcunet-in3": Published("mcunet-320kb-1mb_imagenet", 176, "81.79", "0.737", 247_808, "260.1"),
    "mcunet-in4": Published("mcunet-512kb-2mb_imagenet", 160, "125.87", "1.733", 409_600, "415.3"),
    "proxyless-w0.3": Published(
        "proxyless-w0.3-r176_imagenet", 176, "38.28", "0.754", 247_808, "259.4"
    ),
    "proxyless-w0.3-r64": Published(
        "proxyless-w0.3-r176_imagenet", 64, "", "0.754", 32_768, "35.4"
    ),
    "mbv2-w0.35": Published("mbv2-w0.35-r144_imagenet", 144, "23.50", "0.750", 290_304, "295.0"),
    "mbv2-w0.3-r64": Published("mbv2-w0.3-r80_imagenet", 64, "", "", 57_344, "59.1"),
}
