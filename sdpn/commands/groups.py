"""Groups of verbs that answer a misspelled one with the nearest they have."""

import difflib
import importlib

import click


class Group(click.Group):
    """A group of verbs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that the user typed.

        Raises:
            click.UsageError: there is none of that name; the sentence names the nearest.
        """
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            verbs = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], verbs, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(verbs)}"
            ctx.fail(f"there is no verb '{args[0]}': {hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are imported when they are called for.

    Args:
        verbs: verb -> ("module:attribute" of its click command, one line of help).
    """

    def __init__(self, *args, verbs: dict[str, tuple[str, str]], **kwargs):
        super().__init__(*args, **kwargs)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.verbs:
            return None
        module, attribute = self.verbs[cmd_name][0].split(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in self.verbs.items()])
