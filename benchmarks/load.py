"""One load process: clients that ask and tell in a loop against a running server, as lean as they can be. Prints JSON.

`python benchmarks/load.py rest|grpc|batch|stream TARGET STUDY CLIENTS SECONDS`
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

BATCH = 100


class Http:
    """A keep-alive HTTP/1.1 connection that does just what is needed: a general client costs more than the server."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    async def connect(self) -> Http:
        """Open the connection."""
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def post(self, path: str, body: bytes) -> bytes:
        """POST and read the answer; anything but a 2xx ends the run."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        header = await self.reader.readuntil(b"\r\n\r\n")
        length = int(header.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await self.reader.readexactly(length)
        if header[9:10] != b"2":
            raise RuntimeError(answer.decode())
        return answer


async def rest(target: str, study: str, until: float, waits: list[float]) -> int:
    """Ask one, tell one."""
    host, port = target.removeprefix("http://").split(":")
    http = await Http(host, int(port)).connect()
    done = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        answer = await http.post(f"/v1/studies/{study}/trials:ask", b'{"worker":"bench"}')
        waits.append(time.perf_counter() - started)
        number = json.loads(answer)["trials"][0]["number"]
        await http.post(f"/v1/studies/{study}/trials/{number}:tell", b'{"metrics":{"loss":0.5}}')
        done += 1
    return done


async def batch(target: str, study: str, until: float, waits: list[float]) -> int:
    """Ask a hundred, tell a hundred."""
    host, port = target.removeprefix("http://").split(":")
    http = await Http(host, int(port)).connect()
    done = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        answer = await http.post(f"/v1/studies/{study}/trials:ask", json.dumps({"count": BATCH}).encode())
        waits.append(time.perf_counter() - started)
        outcomes = [{"number": t["number"], "metrics": {"loss": 0.5}} for t in json.loads(answer)["trials"]]
        await http.post(f"/v1/studies/{study}/trials:tell", json.dumps({"outcomes": outcomes}).encode())
        done += BATCH
    return done


async def grpc_unary(target: str, study: str, until: float, waits: list[float]) -> int:
    """Ask one, tell one, over gRPC."""
    import grpc

    from asktell.v1 import trial_pb2 as pb
    from asktell.v1 import trial_pb2_grpc as stubs

    done = 0
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        trials = stubs.TrialsStub(channel)
        while time.perf_counter() < until:
            started = time.perf_counter()
            answer = await trials.AskTrials(pb.AskTrialsRequest(study=study, worker="bench"))
            waits.append(time.perf_counter() - started)
            number = answer.trials[0].number
            await trials.TellTrial(pb.TellTrialRequest(study=study, number=number, metrics={"loss": 0.5}))
            done += 1
    return done


async def stream(target: str, study: str, until: float, waits: list[float]) -> int:
    """Keep a hundred trials running over one `Evaluate` stream."""
    import grpc

    from asktell.v1 import trial_pb2 as pb
    from asktell.v1 import trial_pb2_grpc as stubs

    outcomes: asyncio.Queue[list[int]] = asyncio.Queue()
    told = 0

    async def requests():  # type: ignore[no-untyped-def]
        yield pb.EvaluateRequest(study=study, worker="bench", running=BATCH)
        while time.perf_counter() < until:
            numbers = await outcomes.get()
            while not outcomes.empty():
                numbers += outcomes.get_nowait()
            told_now = [pb.NumberedOutcome(number=n, metrics={"loss": 0.5}) for n in numbers]
            yield pb.EvaluateRequest(outcomes=told_now)

    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        started = time.perf_counter()
        async for answer in stubs.TrialsStub(channel).Evaluate(requests()):
            told += sum(1 for result in answer.results if result.status == 200)
            if answer.trials:
                waits.append(time.perf_counter() - started)
                outcomes.put_nowait([trial.number for trial in answer.trials])
            if time.perf_counter() > until:
                break
            started = time.perf_counter()
    return told


KINDS = {"rest": rest, "grpc": grpc_unary, "batch": batch, "stream": stream}


async def main(kind: str, target: str, study: str, clients: int, seconds: float) -> None:
    """Run and print."""
    waits: list[float] = []
    started = time.perf_counter()
    until = started + seconds
    done = await asyncio.gather(*(KINDS[kind](target, study, until, waits) for _ in range(clients)))
    took = time.perf_counter() - started
    waits.sort()
    found = {
        "per_second": sum(done) / took,
        "p50_ms": 1000 * waits[len(waits) // 2],
        "p99_ms": 1000 * waits[min(len(waits) - 1, int(len(waits) * 0.99))],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
