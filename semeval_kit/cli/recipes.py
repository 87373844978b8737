"""`semeval-kit recipes`: what a recipe may set, and the recipes that there are."""

from __future__ import annotations

import click


@click.command(epilog="Example:  semeval-kit recipes bert-report")
@click.argument("name", required=False)
@click.option("--fields", is_flag=True, help="Explain every field with its default.")
def recipes(name: str | None, fields: bool) -> None:
    """List the recipes, or show one with every field."""
    from semeval_kit.training.config import TrainConfig, list_encoders, list_recipes, load_recipe

    if fields:
        for field, info in TrainConfig.model_fields.items():
            click.echo(f"{field} = {info.default!r}  # {info.description}")
        click.echo("sweep = []  # in a file only: what `sweep` trains if no encoder is named")
    elif name:
        for field, value in load_recipe(name).model_dump().items():
            click.echo(f"{field} = {value!r}")
        click.echo(f"sweep = {list(list_encoders(name))!r}")
    else:
        for known in list_recipes():
            click.echo(known)
