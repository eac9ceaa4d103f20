"""Listens to a websocket, and writes each message as a line; at the end why it was closed."""

import json
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

try:
    with connect(sys.argv[1], max_size=None) as socket:
        while True:
            print(socket.recv(), flush=True)
except ConnectionClosed as closed:
    came = closed.rcvd
    end = {"closed": came.code, "reason": came.reason} if came else {"closed": None}
    print(json.dumps(end), flush=True)
