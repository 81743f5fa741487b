"""What may be asked of PandaDoc: a method and a path go in, a verdict comes out.

    paths      a raw path → every way in which a server between here and PandaDoc's code may read it
    pattern    `GET,POST /public/v1/documents/**`: which methods and paths are meant
    policy     ordered rules; a request is let through only if every reading of it is
    profiles   rules by name, and PandaDoc's operations: data, made from its OpenAPI contract

The raw path goes up as it came; only the verdict is about the readings. Never here: who asks (forward/clients).
"""
