"""Offline jobs over many rows: from file to file with a journal, or in the pipelines of other systems."""

from __future__ import annotations

from .job import BatchJob, JobStatus, job_status

__all__ = ["BatchJob", "JobStatus", "job_status"]
