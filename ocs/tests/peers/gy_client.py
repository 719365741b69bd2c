"""A Gy client built on python-diameter, against `ocs` with demo data.

Asserts what a network element is promised. Prints a line a promise and ends with 0 when all were kept.
usage: gy_client.py PORT --peer HOST --realm REALM --record FILE --pay COMMAND [--short]
FILE gets every message that was received, one a line, in hex. COMMAND pays 5.00 in for the account that is appended to it.
--short is one session and one that runs out of money, for the way through a relay.
"""

import argparse
import datetime
import os
import queue
import shlex
import subprocess
import sys
import threading

from diameter.message.avp.grouped import (
    MultipleServicesCreditControl, PsInformation, RequestedServiceUnit, ServiceInformation, SmsInformation,
    SubscriptionId, UsedServiceUnit)
from diameter.message.commands import CreditControlAnswer, CreditControlRequest, ReAuthRequest
from diameter.node import Node
from diameter.node.application import SimpleThreadingApplication
from diameter.node.peer import PeerConnection

MIB = 1 << 20
DATA, SMS = "14.32251@3gpp.org", "14.32274@3gpp.org"
INITIAL, UPDATE, TERMINATION, EVENT = 1, 2, 3, 4
DEBIT, REFUND, CHECK_BALANCE, PRICE_ENQUIRY = 0, 1, 2, 3
EUR = 978


def promise(holds, text, seen=""):
    """One thing the server owes us."""
    if not holds:
        print(f"BROKEN: {text}: {seen}", flush=True)
        # Not sys.exit: the library's threads go on.
        os._exit(1)
    print(f"kept: {text}")


def imsi(subscriber):
    return f"262019{subscriber:09}"


class Client:
    """A gateway with one peer."""

    def __init__(self, options):
        self.record = open(options.record, "w", encoding="ascii")
        self.watchdogs = threading.Event()
        self.realm = options.realm
        self.asked = queue.Queue()
        self._listen_in()
        self.node = Node("pgw.example.net", "example.net", vendor_ids=[10415])
        self.node.idle_timeout, self.node.wakeup_interval = 1, 1
        receive_dwa = self.node.receive_dwa

        def dwa(connection, message):
            promise(message.result_code == 2001, "DWR is answered with DWA 2001", message.result_code)
            self.watchdogs.set()
            receive_dwa(connection, message)

        self.node.receive_dwa = dwa
        receive_cea = self.node.receive_cea

        def cea(connection, message):
            self.cea = message
            receive_cea(connection, message)

        self.node.receive_cea = cea
        uri = f"aaa://{options.peer}:{options.port};transport=tcp"
        peer = self.node.add_peer(uri, options.realm, ip_addresses=["127.0.0.1"], is_persistent=True)

        def asked(application, message):
            answer = message.to_answer()
            answer.session_id = message.session_id
            answer.origin_host, answer.origin_realm = b"pgw.example.net", b"example.net"
            answer.result_code = 2002
            self.asked.put(message)
            return answer

        self.application = SimpleThreadingApplication(4, is_auth_application=True, request_handler=asked)
        self.node.add_application(self.application, [peer], realms=[options.realm, "example.net"])
        self.node.start()
        self.application.wait_for_ready(10)

    def _listen_in(self):
        """Keeps the octets of whatever comes."""
        client, add_in_bytes = self, PeerConnection.add_in_bytes

        def listen(connection, octets):
            client.pending = getattr(client, "pending", b"") + octets
            while len(client.pending) >= 4:
                length = int.from_bytes(client.pending[1:4], "big")
                if len(client.pending) < length:
                    break
                client.record.write(client.pending[:length].hex() + "\n")
                client.pending = client.pending[length:]
            return add_in_bytes(connection, octets)

        PeerConnection.add_in_bytes = listen

    def session(self):
        return self.node.session_generator.next_id()

    def ask(self, session, kind, number, *services, subscriber=None, context=DATA, **fields):
        ccr = CreditControlRequest()
        ccr.session_id = session
        ccr.origin_host, ccr.origin_realm = b"pgw.example.net", b"example.net"
        ccr.destination_realm = self.realm.encode()
        ccr.auth_application_id = 4
        ccr.service_context_id = context
        ccr.cc_request_type, ccr.cc_request_number = kind, number
        ccr.event_timestamp = datetime.datetime.now(datetime.timezone.utc)
        if subscriber:
            ccr.subscription_id = [SubscriptionId(1, imsi(subscriber)), SubscriptionId(0, f"49170{subscriber:08}")]
        ccr.multiple_services_indicator = 1
        ccr.multiple_services_credit_control = list(services)
        ccr.service_information = ServiceInformation()
        if context == SMS:
            ccr.service_information.sms_information = SmsInformation(sms_node=0, sm_message_type=0)
        else:
            ccr.service_information.ps_information = PsInformation(
                tgpp_charging_id=b"\0\0\0\7", tgpp_pdp_type=0, called_station_id="internet", tgpp_imsi_mcc_mnc="26201",
                tgpp_rat_type=b"\6", pdp_address=["10.113.0.1"])
        for name, value in fields.items():
            setattr(ccr, name, value)
        answer = self.application.send_request(ccr, timeout=10)
        promise(isinstance(answer, CreditControlAnswer), "a CCR is answered with a CCA", answer)
        same = (answer.session_id, answer.cc_request_type, answer.cc_request_number) == (session, kind, number)
        promise(same and answer.auth_application_id == 4, "the CCA repeats session, type, number and application")
        return answer


def service(group=None, requested=None, used=None, **fields):
    return MultipleServicesCreditControl(
        rating_group=group, requested_service_unit=requested, used_service_unit=[used] if used else [], **fields)


def octets(amount):
    return RequestedServiceUnit(cc_total_octets=amount)


def used(amount, **fields):
    return UsedServiceUnit(cc_total_octets=amount, **fields)


def money(group):
    return group.unit_value.value_digits * 10 ** (6 + (group.unit_value.exponent or 0))


def by_group(answer):
    return {service.rating_group: service for service in answer.multiple_services_credit_control}


def two_groups(client):
    session = client.session()
    answer = client.ask(session, INITIAL, 0, service(10, octets(20 * MIB)), service(100, RequestedServiceUnit()),
                        subscriber=13)
    promise(answer.result_code == 2001, "an initial request for two rating groups: 2001", answer.result_code)
    paid, free = by_group(answer)[10], by_group(answer)[100]
    promise(paid.result_code == free.result_code == 2001, "each MSCC has a Result-Code of its own")
    promise(paid.granted_service_unit.cc_total_octets == 20 * MIB, "what is asked for is granted")
    promise(free.granted_service_unit.cc_total_octets > 0, "an empty Requested-Service-Unit is sized by the server")
    promise(paid.validity_time == 1800, "Validity-Time is the tariff's", paid.validity_time)
    promise(paid.volume_quota_threshold == 4 * MIB, "Volume-Quota-Threshold is a fifth", paid.volume_quota_threshold)
    promise(paid.final_unit_indication is None, "no final units while there is credit")

    for number in (1, 2):
        answer = client.ask(session, UPDATE, number, service(10, octets(20 * MIB), used(16 * MIB, reporting_reason=0)))
        promise(list(by_group(answer)) == [10], "an update of one group is answered for that group alone")
        promise(by_group(answer)[10].granted_service_unit.cc_total_octets == 20 * MIB, "and grants anew")
    answer = client.ask(session, UPDATE, 3, service(100, None, used(MIB), reporting_reason=[1]))
    idle = by_group(answer)[100]
    promise(idle.result_code == 2001 and idle.granted_service_unit is None and idle.validity_time is None,
            "a report without a request (quota holding time) is settled and granted nothing")
    answer = client.ask(session, TERMINATION, 4, service(10, None, used(10 * MIB), reporting_reason=[2]),
                        termination_cause=1)
    promise(answer.result_code == 2001, "a termination: 2001", answer.result_code)
    # 42 MiB at 0.02 a MiB in pulses of 100 KiB: 431 of them are 0.8418.
    promise(money(answer.cost_information) == 841_800, "Cost-Information at the end", money(answer.cost_information))
    promise(answer.cost_information.currency_code == EUR, "in the currency of the account")
    answer = client.ask(session, UPDATE, 5, service(10, octets(MIB), used(0)))
    promise(answer.result_code == 5002, "an update after the end: 5002", answer.result_code)


def near_empty(client):
    session = client.session()
    answer = client.ask(session, INITIAL, 0, service(10, octets(300 * MIB)), subscriber=20)
    last = by_group(answer)[10]
    promise(last.granted_service_unit.cc_total_octets == 250 * MIB, "5.00 at 0.02 a MiB are 250 MiB, not 300")
    promise(last.final_unit_indication.final_unit_action == 0, "the last grant says that it is final: TERMINATE")
    promise(last.volume_quota_threshold is None, "final units have no threshold")
    promise(last.validity_time == 1800, "final units have a Validity-Time, to ask again after a top-up")
    answer = client.ask(session, UPDATE, 1, service(10, None, used(250 * MIB)))
    spent = by_group(answer)[10]
    promise(answer.result_code == 2001 and spent.result_code == 2001, "the report of final units: 2001")
    promise(spent.granted_service_unit is None, "and nothing more is granted")
    answer = client.ask(session, UPDATE, 2, service(10, octets(MIB)), service(100, RequestedServiceUnit()))
    promise(answer.result_code == 2001, "one group without credit does not end the session", answer.result_code)
    promise(by_group(answer)[10].result_code == 4012, "4012 in its MSCC", by_group(answer)[10].result_code)
    promise(by_group(answer)[10].granted_service_unit is None, "never a grant of nothing")
    promise(by_group(answer)[100].result_code == 2001, "the free group goes on")
    promise(client.ask(session, TERMINATION, 3).result_code == 2001, "the end of an empty session: 2001")


def money_arrives(client, pay):
    """A session on its final units is told to ask again when there is money."""
    session = client.session()
    answer = client.ask(session, INITIAL, 0, service(10, octets(300 * MIB)), subscriber=1)
    last = by_group(answer)[10]
    promise(last.granted_service_unit.cc_total_octets == 150 * MIB, "3.00 at 0.02 a MiB are 150 MiB, not 300")
    promise(last.final_unit_indication is not None, "and they are the last ones")
    promise(client.asked.empty(), "nobody is told to ask again before there is money")
    subprocess.run([*shlex.split(pay), "1"], check=True)
    try:
        asked = client.asked.get(timeout=1)
    except queue.Empty:
        promise(False, "a RAR comes within a second of the top-up")
    promise(isinstance(asked, ReAuthRequest), "what comes is a RAR", asked)
    promise(asked.session_id == session and asked.re_auth_request_type == 0, "for this session: AUTHORIZE_ONLY", asked)
    promise(asked.destination_host == b"pgw.example.net" and asked.destination_realm == b"example.net",
            "and this client", asked.destination_host)
    answer = client.ask(session, UPDATE, 1, service(10, octets(MIB), used(MIB, reporting_reason=[3])))
    more = by_group(answer)[10]
    promise(more.granted_service_unit.cc_total_octets == MIB, "the update that follows is granted units")
    promise(more.final_unit_indication is None, "which are not the last ones")
    answer = client.ask(session, TERMINATION, 2, service(10, None, used(0)), termination_cause=1)
    promise(answer.result_code == 2001 and client.asked.empty(), "and that is all", answer.result_code)


def refused(client):
    """After near_empty: its subscriber has nothing left."""
    answer = client.ask(client.session(), INITIAL, 0, service(10, octets(MIB)), subscriber=999)
    promise(answer.result_code == 5030, "an unknown subscriber: 5030", answer.result_code)
    answer = client.ask(client.session(), UPDATE, 1, service(10, octets(MIB), used(MIB)))
    promise(answer.result_code == 5002, "an update of a session nobody opened: 5002", answer.result_code)
    answer = client.ask(client.session(), TERMINATION, 1, service(10, None, used(MIB)))
    promise(answer.result_code == 5002, "a termination of a session nobody opened: 5002", answer.result_code)
    answer = client.ask(client.session(), INITIAL, 0, service(10, octets(MIB)), subscriber=20)
    promise(by_group(answer)[10].result_code == 4012, "no credit at all: 4012 in the MSCC")
    answer = client.ask(client.session(), EVENT, 0, service(None, RequestedServiceUnit(cc_service_specific_units=1)),
                        subscriber=20, context=SMS, requested_action=DEBIT)
    promise(answer.result_code == 4012, "an event without credit: 4012", answer.result_code)


def events(client):
    one = RequestedServiceUnit(cc_service_specific_units=1)
    def event(action, *services, **fields):
        return client.ask(client.session(), EVENT, 0, *services, subscriber=30, context=SMS, requested_action=action,
                          **fields)

    answer = event(PRICE_ENQUIRY, service(None, one))
    promise(answer.result_code == 2001 and money(answer.cost_information) == 90_000, "PRICE_ENQUIRY: 0.09")
    answer = event(CHECK_BALANCE, service(None, one))
    promise(answer.result_code == 2001 and answer.check_balance_result == 0, "CHECK_BALANCE: ENOUGH_CREDIT")
    answer = event(CHECK_BALANCE, service(None, RequestedServiceUnit(cc_service_specific_units=10_000)))
    promise(answer.result_code == 2001 and answer.check_balance_result == 1, "CHECK_BALANCE: NO_CREDIT")

    answer = event(DEBIT, service(None, one))
    debit = answer.multiple_services_credit_control[0]
    promise(answer.result_code == 2001 and debit.result_code == 2001, "DIRECT_DEBITING: 2001")
    promise(debit.granted_service_unit.cc_service_specific_units == 1, "what was debited is told as granted")
    promise(money(answer.cost_information) == 90_000, "with its Cost-Information")
    promise(bool(debit.refund_information), "and a Refund-Information")
    answer = event(REFUND, service(None, one, refund_information=debit.refund_information))
    promise(answer.result_code == 2001, "REFUND_ACCOUNT with Refund-Information: 2001", answer.result_code)
    answer = event(REFUND, service(None, one, refund_information=debit.refund_information))
    promise(answer.result_code == 5004, "the same refund again: 5004", answer.result_code)

    # Command level: units outside any MSCC, and none at all.
    answer = event(DEBIT, requested_service_unit=RequestedServiceUnit(cc_service_specific_units=2))
    promise(answer.result_code == 2001 and not answer.multiple_services_credit_control,
            "units at command level are answered at command level")
    promise(answer.granted_service_unit.cc_service_specific_units == 2, "with Granted-Service-Unit")
    promise(money(answer.cost_information) == 180_000, "at its price")
    answer = event(DEBIT)
    promise(answer.result_code == 2001 and money(answer.cost_information) == 90_000, "an event names no units: one")


def command_level(client):
    session = client.session()
    answer = client.ask(session, INITIAL, 0, subscriber=11, requested_service_unit=octets(5 * MIB))
    promise(answer.result_code == 2001 and not answer.multiple_services_credit_control,
            "a session with units at command level is answered at command level")
    promise(answer.granted_service_unit.cc_total_octets == 5 * MIB, "with Granted-Service-Unit")
    promise(answer.validity_time == 1800, "and Validity-Time")
    answer = client.ask(session, UPDATE, 1, requested_service_unit=RequestedServiceUnit(), used_service_unit=[used(MIB)])
    promise(answer.granted_service_unit.cc_total_octets == 10 * MIB, "an empty request gets the tariff's grant")
    answer = client.ask(session, TERMINATION, 2, used_service_unit=[UsedServiceUnit(cc_input_octets=MIB, cc_output_octets=MIB)])
    # 3 MiB are 30.72 pulses of 100 KiB: 31 of them.
    promise(money(answer.cost_information) == 60_500, "uplink and downlink are summed", money(answer.cost_information))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--realm", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--pay", required=True)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    client = Client(options)
    promise(client.cea.result_code == 2001, "CER is answered with CEA 2001")
    if options.short:
        two_groups(client)
        money_arrives(client, options.pay)
    else:
        promise(4 in client.cea.auth_application_id, "CEA offers application 4")
        promise(client.cea.origin_host.decode() == options.peer, "CEA names its sender")
        for story in (two_groups, near_empty, refused, events, command_level):
            story(client)
        money_arrives(client, options.pay)
    promise(client.watchdogs.wait(8), "the watchdog works both ways")
    client.node.stop(wait_timeout=5)
    promise(not client.node.connections, "DPR is answered and the connection closed")
    client.record.close()
    # Threads of the library may outlive their node.
    sys.stdout.flush()
    os._exit(0)


main()
