"""Parquet files as pyarrow writes them, for crates/nmt/tests/hub.rs.

Run from the workspace root; the result is committed. Needs pyarrow (26.0.1 was used).

In `struct.parquet` the column `translation` is a struct, as `datasets` writes it, in pages of the first
kind; each language is packed in another way. In `map.parquet` it is a map, in pages of the second kind.
`columns.parquet` has a column for each language, one with a dictionary and one with lengths before texts.
"""
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = "crates/nmt/tests/parquet"
FERRY = {
    "en": "The ferry leaves at noon.", "de": "Die Fähre legt mittags ab.",
    "es": "El ferri sale a mediodía.", "fr": "Le ferry part à midi.",
    "it": "Il traghetto parte a mezzogiorno.",
}
GATE = {
    "en": "Who left  the\n gate open?", "de": "Wer hat das Tor offen gelassen?",
    "es": "¿Quién dejó la verja abierta?", "fr": "Qui a laissé le portail ouvert ?",
    "it": "Chi ha lasciato aperto il cancello?",
}
HALF = {"en": "Only here.", "de": None, "es": "", "fr": " ", "it": None}
STOVE = {
    "en": "Two kettles, one stove.", "de": "Zwei Kessel, ein Herd.",
    "es": "Dos teteras, un fogón.", "fr": "Deux bouilloires, un réchaud.",
    "it": "Due bollitori, un fornello.",
}
ROWS = [FERRY, GATE, HALF, None, STOVE, FERRY]
CODECS = {"en": "zstd", "de": "snappy", "es": "gzip", "fr": "brotli", "it": "lz4"}

languages = pa.struct([(language, pa.string()) for language in CODECS])
struct = pa.table({
    "id": [str(idx) for idx in range(len(ROWS))],
    "translation": pa.array(ROWS, type=languages),
})
pq.write_table(
    struct, f"{FOLDER}/struct.parquet", row_group_size=4, data_page_version="1.0",
    compression={"id": "none"} | {f"translation.{name}": codec for name, codec in CODECS.items()},
)

entries = [row and [(name, row[name]) for name in ("de", "en")] for row in ROWS]
table = pa.table({"translation": pa.array(entries, type=pa.map_(pa.string(), pa.string()))})
pq.write_table(
    table, f"{FOLDER}/map.parquet", row_group_size=4, data_page_version="2.0", compression="zstd",
)

columns = pa.table({name: [row and row[name] for row in ROWS] for name in ("en", "de")})
pq.write_table(
    columns, f"{FOLDER}/columns.parquet", row_group_size=4, data_page_version="2.0",
    compression="snappy", use_dictionary=["de"], column_encoding={"en": "DELTA_LENGTH_BYTE_ARRAY"},
)
