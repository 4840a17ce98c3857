"""The manifest that `init` writes: short enough to read, runnable as it stands. Pure."""

from __future__ import annotations

_TEXT = """\
# yaml-language-server: $schema={schema}
#
# A batch of Kling O3 renders. Try it without paying:  kling-batch run {name} --emulator
# See what it would cost:                              kling-batch plan {name}

version: 1

limits:
  concurrency: 8        # open requests at most
  max_cost: 5.00        # US dollars at most, over all runs

defaults:               # for every job that does not say otherwise
  mode: text-to-video
  tier: standard        # standard, pro or 4k
  duration: 5           # 3 to 15 seconds

vars:
  brand: Acme

jobs:
  - id: hero-still
    mode: text-to-image
    prompt: "Studio shot of the {{{{ brand }}}} sneaker, soft light"
    aspect_ratio: landscape

  - id: hero-clip
    mode: image-to-video
    image_url: {{job: hero-still}}       # its picture; a file or an address would do as well
    prompt: Camera slowly zooms in

  # One job for each combination:
  - id: "spin-{{{{ colour }}}}"
    matrix: {{colour: [red, blue]}}
    prompt: "The {{{{ colour }}}} sneaker rotating on white"

  # One job for each row of a table, whose columns are variables:
  # - from: products.csv
  #   id: "sku-{{{{ sku }}}}"
  #   prompt: "{{{{ title }}}} on a marble table"
"""


def init_text(schema: str = "kling-batch.schema.json", name: str = "manifest.yaml") -> str:
    """A commented manifest; `schema` is where the editor finds what `schema` prints."""
    return _TEXT.format(schema=schema, name=name)
