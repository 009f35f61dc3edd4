"""Reference networks, written from their papers, and the weights that come along.

Images go in and come out as RGB from 0 to 1. Modules bear the names of the tensors in the published
files, so that these load strictly; what they compute follows the papers. Where a paper leaves
something open (the activation within an attention, the order of two layers, which skip there is),
it was settled by which choice gives the published PSNR; `benchmarks/published.py` measures it.
"""

__all__ = [
    "BSRN",
    "BSRNS",
    "CARNM",
    "EDSR",
    "IMDN",
    "LEDSR",
    "NETWORKS",
    "PAN",
    "RFDN",
    "RLFN",
    "SAFMNPP",
    "SAFMNV3",
    "Network",
    "RRDBNet",
    "SRVGGNetCompact",
    "SlimRLFN",
    "check_arguments",
    "create",
    "names",
]

from prunekit.nets.bsrn import BSRN, BSRNS
from prunekit.nets.carn import CARNM
from prunekit.nets.edsr import EDSR, LEDSR
from prunekit.nets.imdn import IMDN
from prunekit.nets.pan import PAN
from prunekit.nets.registry import NETWORKS, Network, check_arguments, create, names
from prunekit.nets.rfdn import RFDN
from prunekit.nets.rlfn import RLFN, SlimRLFN
from prunekit.nets.rrdb import RRDBNet
from prunekit.nets.safmn import SAFMNPP, SAFMNV3
from prunekit.nets.srvgg import SRVGGNetCompact
