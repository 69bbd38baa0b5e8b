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
from dagster_gcf_pipes._contexts import CallingContext, checked_assets, range_data
from dagster_gcf_pipes._functions_api import Target
from dagster_gcf_pipes._launches import step_of
from dagster_gcf_pipes._made_call import CallInput, MadeCall
from dagster_gcf_pipes._messages.cancel_marker import NoCancelMarker
from dagster_gcf_pipes._messages.injector import InjectorSession
from dagster_gcf_pipes._messages.log_entries import LogEntries
from dagster_gcf_pipes._messages.response_reader import ResponseReader
from dagster_gcf_pipes._reported_partitions import ReportedPartitions
from dagster_gcf_pipes._request_body import encode_body
from dagster_gcf_pipes._steps import take_steps


def make_unclaimed_call(calling: Calling, target: Target, context: CallingContext, given: CallInput) -> MadeCall:
    """Make a call in this thread.

    Args:
        calling: Makes the call.
        target: The function.
        context: The context of the step.
        given: What the call gets.

    Raises:
        PipesCloudFunctionError: The call was not made.
    """
    settings, session_id = calling.settings, SessionPrefix("", uuid.uuid4().hex)
    launch = Launch(Call(target, session_id, "its response", messages_stay_on_failure=False, prices=settings.prices))
    partitions = ReportedPartitions(context, launch)
    reader = ResponseReader(
        include_stdio_in_messages=settings.forward_logs,
        new_entries=partial(
            LogEntries, lines_per_entry=settings.log_lines_per_entry, event_log_level=settings.event_log_level
        ),
        take_partitions=partitions.take if given.partitions is None else None,
    )
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
