"""Which channel carries the requests of a plan: `wire`, with an eye on streams where there are any, or httpx."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from probes.endpoint import Endpoint
from probes.open_loop import Channel, ChannelOwner
from probes.plan import LoadPlan
from probes.streams import StreamConnection
from probes.url import Url
from probes.wire import Connection


@asynccontextmanager
async def channel_maker(plan: LoadPlan, tls: ssl.SSLContext | None) -> AsyncIterator[Callable[[ChannelOwner], Channel]]:
    """Give what makes the channels of a load, for as long as the block lasts; `tls` where the URL is https."""
    if plan.http2:
        from probes.httpx_channel import HttpxChannel, http2_client  # httpx is slow to import, and rarely needed

        async with http2_client(plan, tls) as client:
            yield partial(HttpxChannel, client, plan)
        return
    url, kind = Url.parse(plan.url), StreamConnection if plan.stream else Connection
    endpoint = Endpoint(url.host, url.port, tls, plan.unix_socket)
    head_only, limit = plan.method == "HEAD", plan.response_limit
    yield lambda owner: kind(endpoint, owner, head_only=head_only, limit=limit)
