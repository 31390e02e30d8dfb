"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "717feceb15d89177973fa50d6ca1da55730da3749397e8181d4af5202b568bc4"
from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join
name = 'state.py.j2'

def root(context, missing=missing):
    resolve = context.resolve_or_missing
    undefined = environment.undefined
    concat = environment.concat
    cond_expr_undefined = Undefined
    if 0: yield None
    l_0_item = resolve('item')
    try:
        t_1 = environment.filters['docstring']
    except KeyError:
        @internalcode
        def t_1(*unused):
            raise TemplateRuntimeError("No filter named 'docstring' found.")
    pass
    l_1_loop = missing
    for (l_1_prefix, l_1_value, l_1_parent), l_1_loop in LoopContext([('', 'StateValue', environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'context')), ('Shared', 'ReadOnlyStateValue', environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'shared_context'))], undefined):
        l_1_service = resolve('service')
        l_1_restate = resolve('restate')
        _loop_vars = {}
        pass
        if (environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'has_shared_state') if l_1_prefix else environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states')):
            pass
            yield 'class '
            yield str(l_1_prefix)
            yield str(environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'))
            yield 'State('
            yield str((undefined(name='restate') if l_1_restate is missing else l_1_restate))
            yield '.State):\n    '
            yield str(t_1(str_join(('The state of ', environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'), (', to be read.' if l_1_prefix else '.'), )), 4))
            yield '\n\n    __slots__ = ()\n'
            l_2_loop = missing
            for l_2_state, l_2_loop in LoopContext(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'), undefined):
                l_2_page = resolve('page')
                l_2_signature = resolve('signature')
                _loop_vars = {}
                pass
                yield '\n    @'
                yield str(environment.getattr(environment.getattr((undefined(name='page') if l_2_page is missing else l_2_page), 'names'), 'property'))
                yield '\n'
                yield str(context.call((undefined(name='signature') if l_2_signature is missing else l_2_signature), str_join(('def ', environment.getattr(environment.getattr(l_2_state, 'entry'), 'python_name'), )), ['self'], str_join((' -> ', (undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_value, '[', environment.getattr(environment.getattr(l_2_state, 'type'), 'annotation'), ']:', )), 4, _loop_vars=_loop_vars))
                yield '\n        '
                yield str(t_1(str_join(("The state '", environment.getattr(environment.getattr(l_2_state, 'entry'), 'name'), "': ", environment.getattr(environment.getattr(l_2_state, 'entry'), 'type'), '.', )), 8))
                yield '\n        return '
                yield str((undefined(name='restate') if l_1_restate is missing else l_1_restate))
                yield '.'
                yield str(l_1_value)
                yield '(self, '
                yield str(environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'constant'))
                yield '.states['
                yield str(environment.getattr(l_2_loop, 'index0'))
                yield '])\n'
            l_2_loop = l_2_state = l_2_page = l_2_signature = missing
            yield '\n\nclass '
            yield str(l_1_prefix)
            yield str(environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'))
            yield 'Context('
            yield str(l_1_parent)
            yield '):\n    '
            yield str(t_1(str_join(('The context of ', ('shared ' if l_1_prefix else ''), 'handlers of ', environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'), '.', )), 4))
            yield '\n\n    @property\n    def state(self) -> '
            yield str(l_1_prefix)
            yield str(environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'))
            yield 'State:\n        """The declared state."""\n        return '
            yield str(l_1_prefix)
            yield str(environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'))
            yield 'State(self)\n\n\n'
    l_1_loop = l_1_prefix = l_1_value = l_1_parent = l_1_service = l_1_restate = missing

blocks = {}
debug_info = '1=19&2=24&3=27&4=32&7=35&9=41&10=43&11=45&12=47&16=57&17=62&20=64&22=67'
