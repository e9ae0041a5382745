"""Scans the TLS of ports on this machine with sslyze, and prints one line of JSON for each: the versions that are spoken,
and what is weak. Whether early data is taken is tried at ports that speak HTTP alone: sslyze sends a request in it, and takes a
server that hangs up for an error of its own.

    tls_scan.py (http|rtmp|rtsp):PORT...
"""

import json
import sys

from sslyze import Scanner, ScanCommand, ScanCommandAttemptStatusEnum, ServerNetworkLocation, ServerScanRequest

VERSIONS = {
    ScanCommand.SSL_2_0_CIPHER_SUITES: "SSL 2.0", ScanCommand.SSL_3_0_CIPHER_SUITES: "SSL 3.0",
    ScanCommand.TLS_1_0_CIPHER_SUITES: "TLS 1.0", ScanCommand.TLS_1_1_CIPHER_SUITES: "TLS 1.1",
    ScanCommand.TLS_1_2_CIPHER_SUITES: "TLS 1.2", ScanCommand.TLS_1_3_CIPHER_SUITES: "TLS 1.3",
}
MODERN = {"TLS 1.2", "TLS 1.3"}
OTHERS = {
    ScanCommand.TLS_COMPRESSION, ScanCommand.TLS_1_3_EARLY_DATA, ScanCommand.OPENSSL_CCS_INJECTION, ScanCommand.TLS_FALLBACK_SCSV,
    ScanCommand.HEARTBLEED, ScanCommand.ROBOT, ScanCommand.SESSION_RENEGOTIATION, ScanCommand.ELLIPTIC_CURVES,
}


def suites(version, found):
    """What is weak in the cipher suites of a version."""
    for accepted in found.accepted_cipher_suites:
        suite = accepted.cipher_suite
        is_forward = version == "TLS 1.3" or "_ECDHE_" in f"_{suite.name}_" or "DHE" in suite.name
        is_aead = "GCM" in suite.name or "CHACHA20" in suite.name
        if suite.is_anonymous or not is_forward or not is_aead or suite.key_size < 128:
            yield f"{version}: {suite.name}"


def others(results):
    """What else is weak."""
    if results[ScanCommand.TLS_COMPRESSION].supports_compression:
        yield "compression"
    early = results.get(ScanCommand.TLS_1_3_EARLY_DATA)
    if early and early.supports_early_data:
        yield "early data, which can be sent again by others"
    if results[ScanCommand.OPENSSL_CCS_INJECTION].is_vulnerable_to_ccs_injection:
        yield "CCS injection"
    if results[ScanCommand.HEARTBLEED].is_vulnerable_to_heartbleed:
        yield "Heartbleed"
    if results[ScanCommand.ROBOT].robot_result.name.startswith("VULNERABLE"):
        yield "ROBOT"
    renegotiation = results[ScanCommand.SESSION_RENEGOTIATION]
    if renegotiation.is_vulnerable_to_client_renegotiation_dos:
        yield "renegotiation by clients"
    if not renegotiation.supports_secure_renegotiation:
        yield "renegotiation is not said to be secure (RFC 5746)"
    curves = results[ScanCommand.ELLIPTIC_CURVES]
    for curve in curves.supported_curves or []:
        if curve.name not in {"X25519", "secp256r1", "secp384r1", "secp521r1", "X448"}:
            yield f"curve {curve.name}"


def report(server):
    answers = server.scan_result
    results, failed = {}, []
    for command in [*VERSIONS, *OTHERS]:
        attempt = getattr(answers, command.value)
        if attempt.status == ScanCommandAttemptStatusEnum.COMPLETED:
            results[command] = attempt.result
        elif attempt.status != ScanCommandAttemptStatusEnum.NOT_SCHEDULED:
            failed.append(f"not scanned: {command.value}: {attempt.error_reason}")
    if failed:
        return {"versions": [], "weak": failed}
    spoken = [name for command, name in VERSIONS.items() if results[command].is_tls_version_supported]
    weak = [name for name in spoken if name not in MODERN]
    for command, name in VERSIONS.items():
        weak.extend(suites(name, results[command]))
    weak.extend(others(results))
    return {"versions": spoken, "weak": weak}


def request(protocol, port):
    unfit = set() if protocol == "http" else {ScanCommand.TLS_1_3_EARLY_DATA}
    at = ServerNetworkLocation(hostname="localhost", port=port, ip_address="127.0.0.1")
    return ServerScanRequest(at, scan_commands={*VERSIONS, *OTHERS} - unfit)


doors = [door.split(":") for door in sys.argv[1:]]
scanner = Scanner()
scanner.queue_scans([request(protocol, int(port)) for protocol, port in doors])
found = {}
for server in scanner.get_results():
    where = server.server_location.port
    no_tls = {"versions": [], "weak": [f"no TLS: {server.connectivity_error_trace}"]}
    found[where] = report(server) if server.scan_result else no_tls
for _, port in doors:
    print(json.dumps({"port": int(port), **found[int(port)]}), flush=True)
