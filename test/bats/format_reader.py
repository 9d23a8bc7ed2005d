#!/usr/bin/env python3
"""Reads images knowing only lib/image/FORMAT.md: its tables say which members, records and keys there may be, of which form,
in which range, and which must be there. Checked too: the container, all checksums, and that ids, runs and sizes agree.

    format_reader.py FORMAT.md IMAGE...          what does not fit, one a line, and exit 1; else a line for each image
    format_reader.py FORMAT.md --types IMAGE...  the record types that occur
    format_reader.py FORMAT.md --sources DIR...  keys that sources write and no table has
"""
import glob
import re
import sys
from array import array

PAGE = 4096
POLY = 0x82F63B78


# ---- CRC-32C: two bytes a step; pieces are joined, so that each byte is looked at once ----

def crc_table():
    out = array("L", [0]) * 65536
    for i in range(65536):
        c = i
        for _ in range(16):
            c = c >> 1 ^ (POLY if c & 1 else 0)
        out[i] = c
    return out


TABLE = crc_table()


def crc(data):
    c = 0xFFFFFFFF
    words = array("H", bytes(data[:len(data) & ~1]))
    if sys.byteorder == "big":
        words.byteswap()
    for w in words:
        c = TABLE[(c ^ w) & 0xFFFF] ^ c >> 16
    if len(data) & 1:
        c ^= data[-1]
        for _ in range(8):
            c = c >> 1 ^ (POLY if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def times(matrix, vector):
    out = 0
    for row in matrix:
        if vector & 1:
            out ^= row
        vector >>= 1
    return out


def joined(a, b, length):
    """CRC of A followed by B, from those of both and the length of B."""
    op = [POLY] + [1 << i for i in range(31)]
    for _ in range(3):
        op = [times(op, row) for row in op]
    while length:
        if length & 1:
            a = times(op, a)
        op = [times(op, row) for row in op]
        length >>= 1
    return a ^ b


# ---- FORMAT.md ----

class Key:
    def __init__(self, value, when):
        self.always = when == "always"
        self.form = value.split(";")[0].split(" ")[0]
        m = re.match(r"\w+ (-?\d+)\.\.(\d+)", value)
        one = re.match(r"\w+ (\d+)\b(?! bits)", value)
        self.low, self.high = (int(m[1]), int(m[2])) if m else (int(one[1]),) * 2 if one else (0, None)
        bits = re.match(r"hex (\d+) bits", value)
        if bits:
            self.high = (1 << int(bits[1])) - 1

    def fits(self, v):
        if self.form == "dec":
            return re.fullmatch(r"0|-?[1-9]\d*", v) and self.low <= int(v) <= self.high
        if self.form == "hex":
            return re.fullmatch(r"0x(0|[1-9a-f][0-9a-f]*)", v) and (self.high is None or int(v, 16) <= self.high)
        if self.form == "flag":
            return v == "1"
        if self.form == "bytes":
            return re.fullmatch(r"([0-9a-f]{2})*", v) and self.low <= len(v) // 2 <= self.high
        if self.form == "time":
            return re.fullmatch(r"-?\d+\.\d{9}", v)
        return "\0" not in v


def tables(text):
    """{member as in its heading: {type: {key: Key}}}; type "-": fields without TYPE, "*": keys of all types."""
    out, section, kind, inside = {}, None, None, False
    for line in text.split("\n"):
        if line.startswith("### "):
            section, inside = line[4:], False
        elif line.startswith("| TYPE | KEY |"):
            inside, kind = True, None
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            cells = [c.strip() for c in line.strip()[1:-1].split("|")]
            if cells[0]:
                kind = "*" if cells[0].startswith("*") else cells[0].strip("`")
            known = out.setdefault(section, {}).setdefault(kind, {})
            for key in re.findall(r"`([A-Z0-9_]+)`", cells[1]):
                known[key] = Key(cells[2], cells[3])
    return out


# ---- the container ----

class Member:
    def __init__(self, name, text, offset, data, code):
        self.name, self.text, self.offset, self.data, self.crc = name, text, offset, data, code


class Bad(Exception):
    pass


def number(field):
    return int(field.rstrip(b"\0 ") or b"0", 8)


def pax_records(data):
    out = {}
    while data:
        n = int(data[:data.index(b" ")])
        key, _, value = data[data.index(b" ") + 1:n - 1].partition(b"=")
        out[key.decode()] = value
        data = data[n:]
    return out


class Image:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.raw = memoryview(f.read())
        self.at, self.so_far, self.members, self.by = 0, 0, [], {}
        while "end" not in self.by:
            self.next()
        self.check_end()

    def take(self, n):
        if self.at + n > len(self.raw):
            raise Bad("it ends too early, at %d" % len(self.raw))
        piece = self.raw[self.at:self.at + n]
        self.at += n
        return piece

    def header(self):
        h = bytes(self.take(512))
        if h[257:263] != b"ustar\0" or number(h[148:156]) != sum(h[:148]) + 8 * 32 + sum(h[156:]):
            raise Bad("no tar header at %d" % (self.at - 512))
        return h

    def next(self):
        start, pax = self.at, {}
        h = self.header()
        while h[156:157] in b"xg":
            size = number(h[124:136])
            records = pax_records(bytes(self.take((size + 511) & ~511)[:size]))
            if h[156:157] == b"x":
                pax = records
            elif set(records) != {"comment"} or records["comment"].strip():
                raise Bad("filler at %d holds more than blanks" % start)
            h = self.header()
        name = pax["path"].decode() if "path" in pax else h[:100].rstrip(b"\0").decode()
        size = int(pax["size"]) if "size" in pax else number(h[124:136])
        mode = number(h[100:108])
        if h[156:157] not in (b"0", b"\0") or mode not in (0o600, 0o400) or not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", name):
            raise Bad("member %s is no file of mode 0600 or 0400" % name)
        if name in self.by:
            raise Bad("member %s is there twice" % name)
        offset = self.at
        if mode == 0o400 and offset % PAGE:
            raise Bad("member %s begins at %d" % (name, offset))
        data = self.take(size)
        rest = self.take(-size % 512)
        m = Member(name, mode == 0o600, offset, data, crc(data))
        self.by[name] = m
        if name == "end":
            self.end_header = self.raw[start:offset]
            self.end_start = start
            return
        self.members.append(m)
        for piece, code in ((self.raw[start:offset], None), (data, m.crc), (rest, None)):
            self.so_far = joined(self.so_far, crc(piece) if code is None else code, len(piece))

    def check_end(self):
        text = "".join('TYPE="member" NAME="%s" KIND="%s" OFFSET="%d" SIZE="%d" CRC="0x%08x"\n' %
                       (m.name, "text" if m.text else "raw", m.offset, len(m.data), m.crc) for m in self.members)
        text += 'TYPE="end" MEMBERS="%d" BYTES="%d" CRC="0x%08x"' % (len(self.members), self.end_start, self.so_far)
        own = crc(bytes(self.end_header) + text.encode())
        text += ' SELF="0x%08x"\n' % own
        have = bytes(self.by["end"].data).decode()
        for a, b in zip(have.split("\n"), text.split("\n")):
            if a != b:
                raise Bad("end says %s, it is %s" % (a, b))
        if have != text or any(self.raw[self.at:]) or len(self.raw) != self.at + 1024:
            raise Bad("end or what follows it is not as it must be")
        if [m.name for m in self.members[:2]] != ["description.txt", "profile"]:
            raise Bad("the first members are not description.txt and profile")


# ---- records ----

FIELD = re.compile(r'([A-Z][A-Z0-9_]*)="((?:[^\x00-\x1f\x7f"$`\\]|\\["$`\\]|\\0[0-3][0-7][0-7])*)"( |$)')


def value(s):
    return re.sub(r"\\(0[0-3][0-7][0-7]|.)", lambda m: chr(int(m[1], 8)) if m[1][0] == "0" else m[1], s)


def records(member):
    """Lists of [line number, {key: value}]"""
    out = []
    for n, line in enumerate(bytes(member.data).decode("utf-8", "surrogateescape").split("\n"), 1):
        if not line or line[0] == "#":
            continue
        at, rec = 0, {}
        while at < len(line):
            m = FIELD.match(line, at)
            if not m or m[1] in rec:
                raise Bad("%s: line %d: malformed at %d: %.60s" % (member.name, n, at, line))
            rec[m[1]] = value(m[2])
            at = m.end()
        out.append((n, rec))
    return out


class Checker:
    def __init__(self, doc, image):
        self.doc, self.im, self.bad, self.types = doc, image, [], set()
        self.used = {"description.txt", "profile", "end"}
        self.text = {}
        for m in image.members:
            if m.text:
                self.text[m.name] = self.records_of(m)
        for name in ("global", "maps", "shm", "files"):
            self.ids(name)
        self.tree()
        self.objects()
        for m in image.members:
            if m.name not in self.used:
                self.say(m.name, "no record refers to it")

    def say(self, where, what):
        self.bad.append("%s: %s" % (where, what))

    def section(self, name):
        general = re.sub(r"\d+", "PID" if name.startswith("task") else "N", name) if name.startswith(("task_", "node_")) else name
        return self.doc.get(general)

    def records_of(self, m):
        known = self.section(m.name)
        if known is None:
            self.say(m.name, "FORMAT.md has no table for it")
            return []
        out = records(m)
        if "-" in known:
            out = [(0, {k: v for _, r in out for k, v in r.items()})]
            self.one(m.name, known["-"], out[0][1])
            return out
        for n, rec in out:
            kind = rec.get("TYPE")
            self.types.add(kind)
            if kind not in known or next(iter(rec)) != "TYPE":
                self.say("%s: line %d" % (m.name, n), "TYPE %s is not in FORMAT.md" % kind)
                continue
            keys = dict(known.get("*", {}), **known[kind])
            self.one("%s: line %d: %s" % (m.name, n, kind), keys, {k: v for k, v in rec.items() if k != "TYPE"})
        return out

    def one(self, where, keys, rec):
        for k, v in rec.items():
            if k not in keys:
                self.say(where, "key %s is not in FORMAT.md" % k)
            elif not keys[k].fits(v):
                self.say(where, "%s=\"%.80s\" is not %s as FORMAT.md says" % (k, v, keys[k].form))
        for k, x in keys.items():
            if x.always and k not in rec:
                self.say(where, "key %s is missing" % k)

    def ids(self, name):
        if name not in self.text:
            self.say(name, "is missing")
            self.text[name] = []
        kind = {"maps": "map", "shm": "shm"}.get(name)
        own = [(n, r) for n, r in self.text[name] if kind is None or r["TYPE"] == kind]
        self.used.add(name)
        for i, (n, r) in enumerate(own, 1):
            if name != "global" and r.get("ID") != str(i):
                self.say("%s: line %d" % (name, n), "ID is not %d" % i)

    def raw(self, name, size, where):
        m = self.im.by.get(name)
        self.used.add(name)
        if not m or m.text or (size is not None and len(m.data) != size):
            self.say(where, "no raw member %s of %s bytes" % (name, size))

    def runs(self, recs, kind, where):
        out, last = [], 0
        for n, r in recs:
            if r["TYPE"] != kind:
                continue
            for run in r["RUNS"].split(","):
                a, pages = (int(x, 16) for x in run.split("+"))
                if a % PAGE or not pages or a < last:
                    self.say("%s: line %d" % (where, n), "run %s is out of order" % run)
                last = a + pages * PAGE
                out.append((a, last))
        return out

    def tree(self):
        procs = {r["PID"]: r for _, r in self.text["global"]}
        if len(procs) != len(self.text["global"]) or sum("MAIN" in r for r in procs.values()) != 1:
            self.say("global", "a PID twice, or not one MAIN")
        for pid, r in procs.items():
            parent = procs.get(r["PPID"])
            if r["PPID"] != "0" and (not parent or "ZOMBIE" in parent):
                self.say("global", "%s has no parent %s" % (pid, r["PPID"]))
            if "ZOMBIE" not in r:
                self.process(pid, r)
        for name in self.text:
            if name.startswith("node_"):
                self.used.add(name)

    def process(self, pid, entry):
        name = "task_" + pid
        self.used.add(name)
        recs = self.text.get(name)
        if recs is None:
            self.say("global", "no member " + name)
            return
        first = next((i for i, (_, r) in enumerate(recs) if r["TYPE"] == "thread"), None)
        if first is None or recs[first][1]["TID"] != pid:
            self.say(name, "does not begin with thread " + pid)
        own, threads = recs[:first], recs[first:]
        count = [r["TYPE"] for _, r in own].count
        for kind, n in (("mm", 1), ("umask", 1), ("fs", 1), ("prctl", 1), ("rlimit", 16)):
            if count(kind) != n:
                self.say(name, "%d records %s" % (count(kind), kind))
        tids = [r["TYPE"] for _, r in threads].count
        exited = sum("EXITED" in r for _, r in threads)
        if exited and (exited > 1 or "EXITED" not in threads[0][1] or tids("thread") < 2):
            self.say(name, "another thread than the first of several has exited")
        for kind in ("comm", "sched", "creds", "tid_address", "prctl"):
            n = tids("thread") - (kind in ("tid_address", "prctl") and exited)
            if tids(kind) != n:
                self.say(name, "%d records %s of %d threads" % (tids(kind), kind, n))
        misplaced = {r["TYPE"] for _, r in own} & {"comm", "sched", "creds", "seccomp", "rseq", "in_group"} | \
                    {r["TYPE"] for _, r in threads} & {"mm", "vma", "fd", "pages", "cow", "umask", "rlimit"}
        if misplaced:
            self.say(name, "in the wrong place: %s" % misplaced)
        self.memory(name, pid, own, entry)

    def memory(self, name, pid, recs, entry):
        vmas = [r for _, r in recs if r["TYPE"] == "vma"]
        last, private = 0, []
        for r in vmas:
            start, end = int(r["START"], 16), int(r["END"], 16)
            if start < last or end <= start or start % PAGE or end % PAGE:
                self.say(name, "vma %s is out of order" % r["START"])
            last = end
            if r["KIND"] == "sysv" and not 1 <= int(r["OBJ"]) <= sum(x["TYPE"] == "sysvshm" for _, x in self.text.get("ipc", [])):
                self.say(name, "vma %s is of no segment" % r["START"])
            if r["KIND"] in ("file", "shm") and not 1 <= int(r["OBJ"]) <= len(self.objs("maps" if r["KIND"] == "file" else "shm")):
                self.say(name, "vma %s is of no object" % r["START"])
            if not re.fullmatch("[r-][w-][x-]", r["PROT"]) or r["KIND"] not in ("anon", "file", "shm", "sysv", "uring", "aio", "socket", "vdso", "vvar"):
                self.say(name, "vma %s: PROT or KIND" % r["START"])
            if r["KIND"] in ("anon", "file") and "SHARED" not in r:
                private.append((start, end))
        pages = self.runs(recs, "pages", name)
        cow = self.runs(recs, "cow", name)
        self.raw("task_mm_" + pid, sum(b - a for a, b in pages), name)
        if cow and entry["PPID"] == "0":
            self.say(name, "has a parent's pages and no parent")
        for a, b in pages + cow + self.runs(recs, "guard", name):
            while a < b:
                v = next((v for v in private if v[0] <= a < v[1]), None)
                if not v:
                    self.say(name, "page %x lies in no private memory" % a)
                    break
                a = min(b, v[1])
        files = len(self.text["files"])
        fds = [int(r["FD"]) for _, r in recs if r["TYPE"] == "fd"]
        if fds != sorted(set(fds)) or any(not 1 <= int(r["FILE"]) <= files for _, r in recs if r["TYPE"] in ("fd", "ctty")):
            self.say(name, "descriptors are out of order or of no file")

    def objs(self, name):
        return [r for _, r in self.text[name] if r["TYPE"] in ("map", "shm")]

    def objects(self):
        for r in self.objs("maps"):
            if "GHOST" in r:
                self.raw("mapghost_" + r["ID"], int(r["SIZE"]), "maps")
        at = [i for i, (_, r) in enumerate(self.text["shm"]) if r["TYPE"] == "shm"] + [len(self.text["shm"])]
        for i, k in zip(at, at[1:]):
            r = self.text["shm"][i][1]
            runs = self.runs(self.text["shm"][i + 1:k], "shmruns", "shm")
            if "FILE" not in r:
                self.raw("shm_" + r["ID"], sum(b - a for a, b in runs), "shm")
            if runs and runs[-1][1] > int(r["SIZE"]):
                self.say("shm", "%s: pages behind its end" % r["ID"])
        for _, r in self.text["files"]:
            self.file(r)
        self.ipc(self.text.get("ipc", []))
        self.groups(self.text.get("groups", []))
        self.namespaces(self.text.get("namespaces", []))

    def namespaces(self, recs):
        if recs:
            self.used.add("namespaces")
        own, keys = {}, {"OWNER": "user", "UID_MAP": "user", "HOSTNAME": "uts", "MONOTONIC": "time", "PARENT": "pid", "MEMBER": "mnt"}
        for n, r in recs:
            where = "namespaces: line %d" % n
            if r["TYPE"] == "ns":
                if r["ID"] != str(len(own) + 1) or ("USER" in r and own.get(r["USER"]) != "user"):
                    self.say(where, "ID or USER")
                if any((k in r) != (r["KIND"] == kind) for k, kind in keys.items() if k != "PARENT") or ("PARENT" in r and own.get(r["PARENT"]) != "pid"):
                    self.say(where, "keys of another kind")
                own[r["ID"]] = r["KIND"]
            elif r["NS"] not in ("0", str(len(own))) or own.get(str(len(own))) != ("mnt" if r["TYPE"].startswith("mount") else "net"):
                self.say(where, "%s of another namespace" % r["TYPE"])
            if "CONTENT" in r:
                self.raw(r["CONTENT"], None, where)
        for name, recs in self.text.items():
            for n, r in recs if name.startswith("task_") or name in ("files", "maps") else []:
                for k in ("USER", "PID", "NET", "IPC", "UTS", "CGROUP", "TIME", "MNT") if r["TYPE"] == "namespaces" else ("MNT", "NET"):
                    if k in r and own.get(r[k]) != k.lower():
                        self.say("%s: line %d" % (name, n), "%s names no such namespace" % k)

    def groups(self, recs):
        if recs:
            self.used.add("groups")
        own = [r for _, r in recs if r["TYPE"] == "group"]
        above = []
        for i, r in enumerate(own, 1):
            while above and not (above[-1]["HIERARCHY"] == r["HIERARCHY"] and r["PATH"].startswith(above[-1]["PATH"] + "/")):
                above.pop()
            rest = r["PATH"][len(above[-1]["PATH"]) + 1:] if above else r["PATH"]
            if r["ID"] != str(i) or "/" in rest or rest in (".", "..") or (above and not rest):
                self.say("groups", "%s: ID or PATH" % r["ID"])
            if ("UID" in r) != bool(r["PATH"]) or (r["HIERARCHY"] != "v2" and ("CONTROL" in r or "THREADED" in r)):
                self.say("groups", "%s: keys" % r["ID"])
            if r["PATH"]:
                above.append(r)
        if recs and recs[0][1]["TYPE"] != "group":
            self.say("groups", "does not begin with group")
        for name, recs in self.text.items():
            if name.startswith("task_"):
                seen = set()
                for n, r in recs:
                    if r["TYPE"] == "thread":
                        seen = set()
                    if r["TYPE"] == "in_group":
                        g = own[int(r["GROUP"]) - 1] if int(r["GROUP"]) <= len(own) else None
                        if not g or not g["PATH"] or g["HIERARCHY"] in seen:
                            self.say("%s: line %d" % (name, n), "in_group %s" % r["GROUP"])
                        else:
                            seen.add(g["HIERARCHY"])

    def ipc(self, recs):
        heads = [i for i, (_, r) in enumerate(recs) if r["TYPE"] in ("ipc", "sysvshm", "sysvsem", "sysvmsg")] + [len(recs)]
        if recs:
            self.used.add("ipc")
            if recs[0][1]["TYPE"] != "ipc":
                self.say("ipc", "does not begin with ipc")
        number = 0
        for i, k in zip(heads, heads[1:]):
            r, rest = recs[i][1], [x["TYPE"] for _, x in recs[i + 1:k]]
            follows = {"sysvshm": "sysvruns", "sysvmsg": "sysvmessage"}.get(r["TYPE"])
            if any(t != follows for t in rest):
                self.say("ipc", "%s: followed by %s" % (r["TYPE"], rest))
            if r["TYPE"] == "sysvshm":
                number += 1
                runs = self.runs(recs[i + 1:k], "sysvruns", "ipc")
                self.raw("sysv_shm_%d" % number, sum(b - a for a, b in runs), "ipc")
                if runs and runs[-1][1] > (int(r["SIZE"]) + PAGE - 1) // PAGE * PAGE:
                    self.say("ipc", "%s: pages behind its end" % r["ID"])
            if r["TYPE"] == "sysvmsg" and len(rest) != int(r["COUNT"]):
                self.say("ipc", "%s: COUNT is not the number of its messages" % r["ID"])
            if r["TYPE"] == "sysvsem" and any(len(r[x].split(",")) != int(r["SIZE"]) for x in ("VALUES", "PIDS")):
                self.say("ipc", "%s: not SIZE semaphores" % r["ID"])

    def file(self, r):
        where = "files: " + r["ID"]
        if r["TYPE"] == "reg" and r.get("GHOST") == r["ID"] and "MAP" not in r:
            self.raw("ghost_" + r["ID"], int(r["SIZE"]), where)
        if r["TYPE"] == "io_uring":
            self.raw("uring_" + r["ID"], int(r["CQ"]) * 16 + int(r["SQ"]) * 68, where)
        if "BYTES" in r:
            self.raw("mqueue_" + r["ID"], int(r["BYTES"]), where)
        if "CONTENT" in r or "SENT" in r:
            self.raw(r["TYPE"] + "_" + r["ID"], int(r.get("CONTENT", 0)) + int(r.get("SENT", 0)), where)
        if r["TYPE"] == "inet" and "MESSAGES" in r:
            if sum(int(m.split("@")[0]) for m in r["MESSAGES"].split()) != int(r.get("CONTENT", -1)):
                self.say(where, "MESSAGES")
        elif "MESSAGES" in r and (not re.fullmatch(r"(\d+:(\d+(,\d+)*)?:(\d+,\d+,\d+)?:\d*( |$))*", r["MESSAGES"]) or
                                sum(int(m.split(":")[0]) for m in r["MESSAGES"].split()) != int(r.get("CONTENT", -1))):
            self.say(where, "MESSAGES")
        if "OPTIONS" in r and not re.fullmatch(r"([A-Z0-9_.]+:([0-9a-f]{2})+( |$))*", r["OPTIONS"]):
            self.say(where, "OPTIONS")
        if "PACKETS" in r and sum(map(int, r["PACKETS"].split())) != int(r["CONTENT"]):
            self.say(where, "PACKETS are not CONTENT together")
        for piece in r.get("DATA", "").split():
            m = re.fullmatch(r"(\d+)\+(\d+)=(memfd_\d+(\.\d+)?)", piece)
            if not m or int(m[1]) + int(m[2]) > int(r["SIZE"]):
                self.say(where, "DATA %s" % piece)
            else:
                self.raw(m[3], int(m[2]), where)
        if r["TYPE"] == "epoll" and not re.fullmatch(r"(\d+:0x[0-9a-f]+:0x[0-9a-f]+:\d+( |$))*", r["TARGETS"]):
            self.say(where, "TARGETS")
        if r["TYPE"] == "inotify" and not re.fullmatch(r"(\d+:0x[0-9a-f]+:(@\d+|/[^\x00-\x20\x7f]*)( |$))*", r["WATCHES"]):
            self.say(where, "WATCHES")


def sources(doc, dirs):
    keys = {k for section in doc.values() for kind in section.values() for k in kind} | {"TYPE"}
    kinds = {t for section in doc.values() for t in section}
    bad = 0
    for f in sorted(x for d in dirs for x in glob.glob(d + "/*.c")):
        if f.endswith("/fd_refuse.c"):
            continue  # its kinds are never written
        with open(f) as h:
            text = h.read()
        for k in re.findall(r'rec_put_\w+\((?:[^;"]|\n)*?"([A-Z][A-Z0-9_]*)"', text):
            if k not in keys:
                bad = print("%s: key %s is not in FORMAT.md" % (f, k)) or 1
        for t in re.findall(r'rec_begin\([^;"]*"(\w+)"|\.type = "(\w+)"', text):
            if (t[0] or t[1]) not in kinds:
                bad = print("%s: TYPE %s is not in FORMAT.md" % (f, t[0] or t[1])) or 1
    return bad


def main(argv):
    with open(argv[1]) as f:
        doc = tables(f.read())
    if argv[2] == "--sources":
        return sources(doc, argv[3:])
    bad, types = 0, set()
    for path in argv[3:] if argv[2] == "--types" else argv[2:]:
        try:
            im = Image(path)
            c = Checker(doc, im)
        except Bad as e:
            bad = print("%s: %s" % (path, e)) or 1
            continue
        types |= c.types
        for line in c.bad:
            bad = print("%s: %s" % (path, line)) or 1
        if not c.bad and argv[2] != "--types":
            print("%s: %d members, %d processes, %d files" % (path, len(im.members), len(c.text["global"]), len(c.text["files"])))
    if argv[2] == "--types":
        print("\n".join(sorted(types)))
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv))
