"""A hospital's information system, made of two HL7 libraries of other makes.

    hl7_system.py send PORT [--tls CA CERT KEY] MESSAGE...   by python-hl7: prints one JSON list of [MSA-1, MSA-2, ERR-3] an answer
    hl7_system.py raw PORT HEX                               bytes as they are: prints what came back, as hex
    hl7_system.py take PORT FOLDER [--tls CA CERT KEY]       by hl7apy's MLLP server: each message goes into FOLDER; answers what
                                                      FOLDER/answers says, one line an answer (AA, "AE 207", "AR 200",
                                                      "silence"), then AA for ever

A MESSAGE may say \\r for the end of a segment; it is sent in the character set of its MSH-18.
"""
import asyncio
import json
import pathlib
import socket
import ssl
import sys
import time

import hl7
from hl7.mllp import open_hl7_connection
from hl7apy.mllp import AbstractHandler, MLLPRequestHandler, MLLPServer
from hl7apy.parser import parse_message

ENCODINGS = {"8859/1": "latin-1", "UNICODE UTF-8": "utf-8", "8859/5": "iso8859-5", "ISO IR87": "iso2022_jp",
             "GB 18030-2000": "gb18030", "KS X 1001": "euc_kr", "": "ascii"}


def tls_of(args, purpose):
    if "--tls" not in args:
        return None
    at = args.index("--tls")
    ca, cert, key = args[at + 1:at + 4]
    del args[at:at + 4]
    context = ssl.create_default_context(purpose, cafile=ca)
    context.load_cert_chain(cert, key)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def encoding_of(text):
    header = text.split("\r")[0].split("|")
    return ENCODINGS[header[17] if len(header) > 17 else ""]


async def send(port, context, messages):
    answers = []
    first = messages[0] if messages else ""
    reader, writer = await open_hl7_connection(
        "127.0.0.1", port, ssl=context, encoding=encoding_of(first), encoding_errors="strict")
    for message in messages:
        writer.writemessage(hl7.parse(message))
        await writer.drain()
        answer = await asyncio.wait_for(reader.readmessage(), 60)
        msa = answer.segment("MSA")
        errors = [s for s in answer if str(s[0]) == "ERR"]
        code = str(errors[0][3]).split("^")[0] if errors and len(errors[0]) > 3 else ""
        answers.append([str(msa[1]), str(msa[2]), code])
    writer.close()
    print(json.dumps(answers))


def raw(port, data):
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(data)
        line.settimeout(5)
        got = b""
        try:
            while not got.endswith(b"\x1c\r"):
                piece = line.recv(65536)
                if not piece:
                    break
                got += piece
        except TimeoutError:
            pass
    print(got.hex())


class Taken(AbstractHandler):
    def __init__(self, message, folder):
        super().__init__(message)
        self.folder = folder

    def reply(self):
        taken = sorted(self.folder.glob("*.hl7"))
        (self.folder / f"{len(taken):03}.hl7").write_text(self.incoming_message, newline="")
        script = self.folder / "answers"
        lines = script.read_text().splitlines() if script.exists() else []
        say = lines[len(taken)] if len(taken) < len(lines) else "AA"
        if say == "silence":
            time.sleep(3)
            raise ConnectionError("as the test asked for")
        # The structure that the library knows is held against what came.
        message = parse_message(self.incoming_message, find_groups=True)
        control = message.msh.msh_10.value
        code, _, number = say.partition(" ")
        answer = f"MSH|^~\\&|RIS|H|PERICARD||20261129||ACK^R01^ACK|A{len(taken)}|P|2.5.1\rMSA|{code}|{control}\r"
        if number:
            answer += f"ERR||PID^1|{number}^x^HL70357|E\r"
        return f"\x0b{answer}\x1c\r"


class Request(MLLPRequestHandler):
    encoding = "utf-8"


def take(port, folder, context):
    handlers = {"ORU^R01^ORU_R01": (Taken, folder)}
    server = MLLPServer("127.0.0.1", port, handlers, timeout=60, request_handler_class=Request)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


args = sys.argv[1:]
what, port = args[0], int(args[1])
if what == "send":
    context = tls_of(args, ssl.Purpose.SERVER_AUTH)
    asyncio.run(send(port, context, [m.replace("\\r", "\r") for m in args[2:]]))
elif what == "raw":
    raw(port, bytes.fromhex(args[2]))
else:
    context = tls_of(args, ssl.Purpose.CLIENT_AUTH)
    take(port, pathlib.Path(args[2]), context)
