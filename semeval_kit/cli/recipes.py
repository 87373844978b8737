"""`semeval-kit recipes`: what a recipe may set, and the recipes that there are."""

from __future__ import annotations

import click


@click.command(epilog="Example:  semeval-kit recipes bert-report")
@click.argument("name", required=False)
@click.option("--fields", is_flag=True, help="Explain every field with its default.")
def recipes(name: str | None, fields: bool) -> None:
    """List the recipes, or show one with every field."""
    from semeval_kit.training.recipe import (
        Recipe,
        list_recipes,
        load_comparison,
        load_members,
        load_recipe,
    )

    if fields:
        for field, info in Recipe.model_fields.items():
            default = "(not set)" if info.default is None else repr(info.default)
            click.echo(f"{field} = {default}  # {info.description}")
        click.echo("sweep = []  # in a file only: what `sweep` trains if no encoder is named")
        click.echo("before = false  # in a file or by --before: measure the encoder untrained, too")
    elif name and (members := load_members(name)):
        for member in members:
            told = (f"{field} = {v!r}" for field, v in member if v is not None)
            click.echo("\n".join(["[[members]]", *told]))
    elif name:
        for field, value in load_recipe(name).model_dump().items():
            click.echo(f"{field} = {'(not set)' if value is None else repr(value)}")
        compared = load_comparison(name)
        click.echo(f"sweep = {list(compared.encoders)!r}")
        click.echo(f"before = {str(compared.before).lower()}")
    else:
        for known in list_recipes():
            click.echo(known)
