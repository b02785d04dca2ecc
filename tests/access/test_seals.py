"""Secrets of webhooks rest sealed: opened by the deployment that sealed them, for the job they were sealed for."""

from __future__ import annotations

import pytest

from divisi.access.key_ring import SealError, new_webhook_secret, seal, unseal

DEPLOYMENT = b"d" * 32
JOB, OTHER_JOB = "a" * 26, "b" * 26


def test_what_is_sealed_comes_back_for_its_own_job() -> None:
    secret = new_webhook_secret()
    sealed = seal(secret, JOB, DEPLOYMENT)
    assert secret not in sealed
    assert secret.removeprefix("whsec_") not in sealed
    assert unseal(sealed, JOB, DEPLOYMENT) == secret


def test_no_two_seals_are_alike() -> None:
    secret = new_webhook_secret()
    assert seal(secret, JOB, DEPLOYMENT) != seal(secret, JOB, DEPLOYMENT)


@pytest.mark.parametrize(("job_id", "deployment_secret"), [(OTHER_JOB, DEPLOYMENT), (JOB, b"e" * 32)])
def test_another_job_and_another_deployment_do_not_open_it(job_id: str, deployment_secret: bytes) -> None:
    with pytest.raises(SealError):
        unseal(seal(new_webhook_secret(), JOB, DEPLOYMENT), job_id, deployment_secret)


@pytest.mark.parametrize("cut", [0, 9, 12, 30, -1])
def test_a_broken_seal_is_said_to_be_broken(cut: int) -> None:
    sealed = seal(new_webhook_secret(), JOB, DEPLOYMENT)
    broken = "sealed-1:" + sealed.removeprefix("sealed-1:")[:cut]
    with pytest.raises(SealError):
        unseal(broken, JOB, DEPLOYMENT)


def test_secrets_of_version_0_1_are_read_as_they_lie() -> None:
    secret = new_webhook_secret()
    assert unseal(secret, JOB, DEPLOYMENT) == secret
