import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sdpn.models.frames import FrameConv


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 4), (5, 1)])
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_agrees_with_torchs_convolution_on_channels_first(kernel, dilation, padding):
    torch.manual_seed(0)
    conv = FrameConv(6, 4, kernel, dilation, padding=padding).double()
    x = torch.randn(2, 20, 6).double()
    reach = dilation * (kernel // 2)
    mode = "constant" if padding == "zeros" else "reflect"
    expected = F.conv1d(F.pad(x.transpose(1, 2), (reach, reach), mode=mode), conv.weight, conv.bias, dilation=dilation)
    torch.testing.assert_close(conv(x), expected.transpose(1, 2))


def test_mirroring_goes_back_and_forth_in_an_utterance_shorter_than_the_reach():
    conv = FrameConv(1, 1, kernel_size=3, dilation=4, padding="reflect")
    with torch.no_grad():
        conv.weight[:] = 1
        conv.bias[:] = 0
    x = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1)
    around = np.pad(x[0, :, 0].numpy(), 4, mode="reflect")
    np.testing.assert_allclose(conv(x).detach()[0, :, 0], around[:3] + around[4:7] + around[8:])
