"""Fragment -> RLlib episodes, cut from arrays: for algorithms that learn from episodes.

One episode per (node, SKU) row and replication: rows are what the modules act on. Each is
a view of the fragment's arrays, so making one costs microseconds, not one append per step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from envs.types import Bools, Floats32
from training.rllib.batches import action_log_probability
from training.rllib.modules import NodeKindModule
from training.rllib.sampler import Fragment, KindRows


def episodes_of(
    fragment: Fragment, modules: Mapping[str, NodeKindModule], agent_ids: tuple[str, ...], name: str
) -> list[SingleAgentEpisode]:
    """Every episode, or piece of one, that the fragment holds.

    Args:
        fragment: what was sampled.
        modules: the modules it was sampled with.
        agent_ids: names of the nodes.
        name: of the sampler, to keep the ids of several apart.
    """
    return [
        episode
        for kind, rows in fragment.kinds.items()
        for episode in _episodes_of_kind(fragment, rows, modules[kind], agent_ids, name)
    ]


def _pieces(truncated: Bools) -> list[tuple[int, int]]:
    """[T] ends of episodes -> stretches [start, stop) within one episode."""
    stops = sorted({*(np.flatnonzero(truncated) + 1).tolist(), len(truncated)})
    return list(zip([0, *stops[:-1]], stops, strict=True))


def _episodes_of_kind(
    fragment: Fragment,
    rows: KindRows,
    module: NodeKindModule,
    agent_ids: tuple[str, ...],
    name: str,
) -> Iterator[SingleAgentEpisode]:
    logp = action_log_probability(module, rows).numpy()
    observation, action = rows.observation.numpy(), rows.action.numpy()
    inputs, reward = rows.inputs.numpy(), rows.reward.numpy()
    for start, stop in _pieces(fragment.truncated):
        ended = bool(fragment.truncated[stop - 1])
        last = rows.reached[stop - 1].numpy() if ended else observation[stop]
        seen = np.concatenate((observation[start:stop], last[None]))  # [T' + 1, R, B, F]
        for row in range(seen.shape[1]):
            agent = agent_ids[int(rows.group.node_of_row[row])]
            for replication in range(seen.shape[2]):
                episode = f"{name}-{fragment.episode[start] + replication}"
                here = np.s_[start:stop, row, replication]
                yield SingleAgentEpisode(
                    id_=f"{episode}-{rows.group.start + row}",
                    agent_id=f"{agent}/{row}",
                    module_id=rows.group.name,
                    multi_agent_episode_id=episode,
                    observations=_buffer(seen[:, row, replication]),
                    actions=_buffer(action[here]),
                    rewards=_buffer(reward[here]),
                    # RLlib appends to it: shared between episodes it would grow for all of them.
                    infos=InfiniteLookbackBuffer([{} for _ in range(stop - start + 1)]),
                    extra_model_outputs={
                        Columns.ACTION_DIST_INPUTS: _buffer(inputs[here]),
                        Columns.ACTION_LOGP: _buffer(logp[here]),
                    },
                    truncated=ended,
                    t_started=int(fragment.period[start]),
                    len_lookback_buffer=0,
                )


def _buffer(values: Floats32) -> InfiniteLookbackBuffer:
    return InfiniteLookbackBuffer(values)
