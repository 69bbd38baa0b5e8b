"""One step, one call of a function, without a bucket.

Nothing claims the session of such a call. So its request is sent once, nothing can stop the function, and no later
attempt of the step can adopt it.
"""

import uuid
from functools import partial

from dagster import open_pipes_session
from gcf_pipes._shared.protocol import SessionPrefix

from dagster_gcf_pipes._adopters import refuse_ended_run
from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._attempts import start_in_thread
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._calling import Calling, OpenCall
from dagster_gcf_pipes._config import LOGGING_MESSAGES, PipesCloudFunctionSettings
from dagster_gcf_pipes._contexts import CallingContext, checked_assets, range_data
from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions_api import Target
from dagster_gcf_pipes._launches import step_of
from dagster_gcf_pipes._made_call import CallInput, MadeCall
from dagster_gcf_pipes._messages.cancel_marker import NoCancelMarker
from dagster_gcf_pipes._messages.entry_reader import EntryReader, EntryReaders
from dagster_gcf_pipes._messages.entry_session import EntrySession
from dagster_gcf_pipes._messages.injector import InjectorSession
from dagster_gcf_pipes._messages.log_entries import LogEntries
from dagster_gcf_pipes._messages.response_reader import ResponseReader
from dagster_gcf_pipes._messages.session_reader import SessionReader, TakeMessage
from dagster_gcf_pipes._reported_partitions import ReportedPartitions
from dagster_gcf_pipes._request_body import encode_body
from dagster_gcf_pipes._steps import take_steps


def make_unclaimed_call(
    calling: Calling, target: Target, context: CallingContext, given: CallInput, readers: EntryReaders
) -> MadeCall:
    """Make a call in this thread.

    Args:
        calling: Makes the call.
        target: The function.
        context: The context of the step.
        given: What the call gets.
        readers: Read the messages that are in the log.

    Raises:
        PipesCloudFunctionError: The call was not made.
    """
    settings, logs = calling.settings, _log_reader(calling, target, readers)
    through = f"Cloud Logging ({logs.source})" if logs else "its response"
    session_id = SessionPrefix("", uuid.uuid4().hex)
    launch = Launch(Call(target, session_id, through, messages_stay_on_failure=False, prices=settings.prices))
    partitions = ReportedPartitions(context, launch)
    reader = _new_reader(settings, logs, partitions.take if given.partitions is None else None)
    data = range_data(context) if given.partitions is None else given.partitions
    injector = InjectorSession(session_id, None, settings.inline_context_limit, checked_assets(context), data)
    marker = NoCancelMarker(context.log)
    with open_pipes_session(
        context=context, extras=given.extras, context_injector=injector, message_reader=reader
    ) as session:
        body = encode_body(given.event, session.get_bootstrap_env_vars())
        launch.record(context.log)
        refuse_ended_run(step_of(context))
        with marker.write_if_interrupted(lambda reason: marker.stop(reader.record, reason), str):
            start = partial(start_in_thread, on_done=reader.wake)
            opened = OpenCall(launch, session, reader, marker, body, start, context.log)
            return partitions.judge(take_steps(calling.steps(opened, context), reader.wait_until))


def _new_reader(
    settings: PipesCloudFunctionSettings, logs: EntryReader | None, take_partitions: TakeMessage | None
) -> SessionReader:
    new_entries = partial(
        LogEntries, lines_per_entry=settings.log_lines_per_entry, event_log_level=settings.event_log_level
    )
    new_reader = partial(EntrySession, logs) if logs else ResponseReader
    return new_reader(
        include_stdio_in_messages=settings.forward_logs, new_entries=new_entries, take_partitions=take_partitions
    )


def _log_reader(calling: Calling, target: Target, readers: EntryReaders) -> EntryReader | None:
    """Return what reads the log, or None if the messages do not go there.

    Raises:
        PipesCloudFunctionRequestError: Nobody knows where the log is.
    """
    settings = calling.settings
    if settings.messages != LOGGING_MESSAGES:
        return None
    project = target.name.project or settings.project
    if project is None:
        raise PipesCloudFunctionRequestError(
            f"Expected the project whose log has the function's messages, got the URL {target.url} alone, which does "
            "not contain it.\nFix: Set `project` of the resource, or call the function by its name."
        )
    return readers.get(project, calling.identity.credentials, view=settings.log_view)
