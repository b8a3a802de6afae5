"""The same with asyncio: evaluations that wait for something, with reports and early stopping. Needs `asktell serve`."""

import asyncio

import asktell


async def train(p: dict[str, float], trial: asktell.AsyncTrial) -> dict[str, float]:
    """A training whose loss falls towards a level that the learning rate decides."""
    loss = 1.0
    for epoch in range(1, 11):
        await asyncio.sleep(0.01)
        loss = 0.7 * loss + 0.3 * (p["rate"] - 0.01) ** 2
        if await trial.report(epoch, loss=loss):
            raise asktell.Pruned(f"not promising at epoch {epoch}")
    return {"loss": loss}


async def main() -> None:
    """Optimise in eight tasks."""
    async with asktell.AsyncClient() as client:
        study = await client.create_study(
            "async-quickstart",
            {"rate": asktell.Float(1e-4, 1, scale="log")},
            minimize="loss",
            early_stopping={"rule": "median", "warmup_steps": 3},
            exist_ok=True,
        )
        await study.optimize(train, trials=24, parallel=8)
        best = await study.best
        print(f"loss {best.metrics['loss']:.4f} at rate {best.parameters['rate']:.4g}; {study.trial_counts}")


if __name__ == "__main__":
    asyncio.run(main())
