"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "a9ddb8891a37d77714836ca45eacc4b044e070f7f9eeb56607b5d33b6e580cb0"
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
        l_1_call = resolve('call')
        l_1_service = resolve('service')
        l_1_restate = resolve('restate')
        l_1_signature = resolve('signature')
        _loop_vars = {}
        pass
        if (environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'has_shared_state') if l_1_prefix else environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states')):
            pass
            yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('class ', l_1_prefix, environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'), 'State', )), [str_join(((undefined(name='restate') if l_1_restate is missing else l_1_restate), '.State', ))], ':', _loop_vars=_loop_vars))
            yield '\n    '
            yield str(t_1(str_join(('The state of ', environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'), (', to be read.' if l_1_prefix else '.'), )), 4))
            yield '\n\n    __slots__ = ()\n'
            l_2_loop = missing
            for l_2_state, l_2_loop in LoopContext(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'), undefined):
                l_2_page = resolve('page')
                _loop_vars = {}
                pass
                yield '\n    @'
                yield str(environment.getattr(environment.getattr((undefined(name='page') if l_2_page is missing else l_2_page), 'names'), 'property'))
                yield '\n'
                yield str(context.call((undefined(name='signature') if l_1_signature is missing else l_1_signature), str_join(('def ', environment.getattr(environment.getattr(l_2_state, 'entry'), 'python_name'), )), ['self'], str_join(((undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_value, )), [environment.getattr(environment.getattr(l_2_state, 'type'), 'annotation')], _loop_vars=_loop_vars))
                yield '\n        '
                yield str(t_1(str_join(("The state '", environment.getattr(environment.getattr(l_2_state, 'entry'), 'name'), "': ", environment.getattr(environment.getattr(l_2_state, 'entry'), 'type'), '.', )), 8))
                yield '\n'
                yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('return ', (undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_value, )), ['self', str_join((environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'constant'), '.states[', environment.getattr(l_2_loop, 'index0'), ']', ))], indent=8, _loop_vars=_loop_vars))
                yield '\n'
            l_2_loop = l_2_state = l_2_page = missing
            yield '\n\n'
            yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('class ', l_1_prefix, environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'), 'Context', )), [l_1_parent], ':', _loop_vars=_loop_vars))
            yield '\n    '
            yield str(t_1(str_join(('The context of ', ('shared ' if l_1_prefix else ''), 'handlers of ', environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'), '.', )), 4))
            yield '\n\n    @property\n'
            yield str(context.call((undefined(name='signature') if l_1_signature is missing else l_1_signature), 'def state', ['self'], str_join((l_1_prefix, environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'), 'State', )), _loop_vars=_loop_vars))
            yield '\n        """The declared state."""\n'
            yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('return ', l_1_prefix, environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'), 'State', )), ['self'], indent=8, _loop_vars=_loop_vars))
            yield '\n\n\n'
    l_1_loop = l_1_prefix = l_1_value = l_1_parent = l_1_call = l_1_service = l_1_restate = l_1_signature = missing

blocks = {}
debug_info = '1=19&2=26&3=28&4=30&7=33&9=38&10=40&11=42&12=44&16=48&17=50&20=52&22=54'
