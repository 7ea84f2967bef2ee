"""Learning methods, one file each; the base is fine-tuning."""

from lifelong.strategies.agem import AGEM
from lifelong.strategies.anchored import Anchored
from lifelong.strategies.apd import APD
from lifelong.strategies.architecture_search import ArchitectureSearch
from lifelong.strategies.brute_force import BruteForce
from lifelong.strategies.cbp import CBP
from lifelong.strategies.channel_gated import ChannelGated
from lifelong.strategies.cil import CIL
from lifelong.strategies.coda import CODA
from lifelong.strategies.darts import DARTS
from lifelong.strategies.den import DEN
from lifelong.strategies.derpp import DERPP
from lifelong.strategies.dualprompt import DualPrompt
from lifelong.strategies.er import ER
from lifelong.strategies.er_ace import ERACE
from lifelong.strategies.ewc import EWC
from lifelong.strategies.frozen_body import FrozenBody
from lifelong.strategies.gdumb import GDumb
from lifelong.strategies.gem import GEM
from lifelong.strategies.gpm import GPM
from lifelong.strategies.hat import HAT
from lifelong.strategies.icarl import ICaRL
from lifelong.strategies.joint import Joint
from lifelong.strategies.l2_init import L2Init
from lifelong.strategies.l2p import L2P
from lifelong.strategies.lasem import LASEM
from lifelong.strategies.lasem_er import LASEMER
from lifelong.strategies.lwf import LwF
from lifelong.strategies.mas import MAS
from lifelong.strategies.mir import MIR
from lifelong.strategies.ncm import NCM
from lifelong.strategies.packnet import PackNet
from lifelong.strategies.prompting import Prompting, Prompts
from lifelong.strategies.ranpac import RanPAC
from lifelong.strategies.rehearsal import Rehearsal
from lifelong.strategies.retrain import Retrain
from lifelong.strategies.shrink_perturb import ShrinkPerturb
from lifelong.strategies.si import SI
from lifelong.strategies.strategy import Round, Strategy
from lifelong.strategies.subnetworks import Subnetworks
from lifelong.strategies.tickets import Tickets
from lifelong.strategies.tickets_bu import TicketsBU
from lifelong.strategies.tickets_td import TicketsTD
from lifelong.strategies.wsn import WSN

__all__ = [
    "AGEM",
    "APD",
    "CBP",
    "CIL",
    "CODA",
    "DARTS",
    "DEN",
    "DERPP",
    "ER",
    "ERACE",
    "EWC",
    "GEM",
    "GPM",
    "HAT",
    "L2P",
    "LASEM",
    "LASEMER",
    "MAS",
    "MIR",
    "NCM",
    "SI",
    "WSN",
    "Anchored",
    "ArchitectureSearch",
    "BruteForce",
    "ChannelGated",
    "DualPrompt",
    "FrozenBody",
    "GDumb",
    "ICaRL",
    "Joint",
    "L2Init",
    "LwF",
    "PackNet",
    "Prompting",
    "Prompts",
    "RanPAC",
    "Rehearsal",
    "Retrain",
    "Round",
    "ShrinkPerturb",
    "Strategy",
    "Subnetworks",
    "Tickets",
    "TicketsBU",
    "TicketsTD",
]
