"""A verdict of infeasibility as gRPC tells it: the study's field, the event, the diagnosis."""

from __future__ import annotations

from api.rpc.messages import take
from asktell.v1 import study_pb2
from services.container import Services
from services.domain.suggester import Suggestion
from tests.support.builders import ADMIN
from tests.support.grpc_client import Client

FINDING = {"kind": "infeasible_suspected", "trial": 1, "evidence": {"lowest": 0.25, "by": {"c": [1, None]}}}


async def test_a_verdict_travels_with_its_evidence(client: Client, services: Services) -> None:
    name = await client.create(suggester={"name": "gp"}, constraints=[{"metric": "c", "max": 0}])
    study_id = (await services.studies.get(ADMIN, name)).id
    before = await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    assert not before.HasField("infeasible_suspected")
    claim = await services.suggesting.claim(study_id, "the test")
    assert claim is not None
    await services.suggesting.commit(claim, [Suggestion(parameters={"x": 0.5}, reason="least bad", finding=FINDING)])
    study = await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    expected = (await services.studies.get(ADMIN, name)).infeasible_suspected
    assert expected is not None
    assert take(study)["infeasible_suspected"]["evidence"] == FINDING["evidence"]
    assert study.infeasible_suspected.trial == 1
    assert study.infeasible_suspected.at.ToDatetime(expected.at.tzinfo) == expected.at
    diagnosis = await client.studies.DiagnoseStudy(study_pb2.DiagnoseStudyRequest(study=name))
    assert [c.metric for c in diagnosis.calibration] == ["loss", "c"]
    assert "infeasible_suspected" in {limit.kind for limit in diagnosis.limits}
    async for event in client.studies.StreamEvents(study_pb2.StreamEventsRequest(study=name)):
        if event.type == "study.infeasible_suspected":
            assert take(event)["data"]["evidence"] == FINDING["evidence"]
            break
