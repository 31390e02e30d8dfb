"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "6f25eb12acaf708da690cd6d52b2d8df86304edff5fc91f013e371e667ed76b7"
from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join
name = 'descriptor.py.j2'

def root(context, missing=missing):
    resolve = context.resolve_or_missing
    undefined = environment.undefined
    concat = environment.concat
    cond_expr_undefined = Undefined
    if 0: yield None
    l_0_item = resolve('item')
    l_0_service = resolve('service')
    l_0_page = resolve('page')
    l_0_restate = resolve('restate')
    l_0_argument = resolve('argument')
    l_0_single = resolve('single')
    l_0_state_descriptor = missing
    try:
        t_1 = environment.filters['length']
    except KeyError:
        @internalcode
        def t_1(*unused):
            raise TemplateRuntimeError("No filter named 'length' found.")
    try:
        t_2 = environment.filters['trim']
    except KeyError:
        @internalcode
        def t_2(*unused):
            raise TemplateRuntimeError("No filter named 'trim' found.")
    try:
        t_3 = environment.tests['none']
    except KeyError:
        @internalcode
        def t_3(*unused):
            raise TemplateRuntimeError("No test named 'none' found.")
    pass
    yield str(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'variable'))
    yield ' = '
    yield str(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'descriptor'))
    yield '\n'
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'constant'))
    yield ': '
    yield str(environment.getattr(environment.getattr((undefined(name='page') if l_0_page is missing else l_0_page), 'names'), 'Final'))
    yield ' = '
    yield str((undefined(name='restate') if l_0_restate is missing else l_0_restate))
    yield '.ServiceDescriptor(\n    abi=1,\n    name="'
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'))
    yield '",\n    kind='
    yield str(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'kind'))
    yield ',\n    descriptor='
    yield str(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'variable'))
    yield ',\n'
    if environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'comments'):
        pass
        yield str(context.call((undefined(name='argument') if l_0_argument is missing else l_0_argument), 'comments', environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'comments'), 4))
        yield '\n'
    if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'methods'):
        pass
        yield '    methods=(\n'
        for l_1_page_method in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'methods'):
            l_1_method = missing
            _loop_vars = {}
            pass
            l_1_method = environment.getattr(l_1_page_method, 'method')
            _loop_vars['method'] = l_1_method
            yield '        '
            yield str((undefined(name='restate') if l_0_restate is missing else l_0_restate))
            yield '.MethodDescriptor(\n            name="'
            yield str(environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'name'))
            yield '",\n            python_name="'
            yield str(environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'python_name'))
            yield '",\n            request='
            yield str(environment.getattr(environment.getattr(l_1_page_method, 'request'), 'value'))
            yield ',\n            response='
            yield str(environment.getattr(environment.getattr(l_1_page_method, 'response'), 'value'))
            yield ',\n'
            if (not t_3(environment.getattr(l_1_page_method, 'key_field'))):
                pass
                yield '            key_field="'
                yield str(environment.getattr(l_1_page_method, 'key_field'))
                yield '",\n'
            if environment.getattr(l_1_page_method, 'deprecated'):
                pass
                yield '            deprecated="'
                yield str(environment.getattr(l_1_page_method, 'deprecated'))
                yield '",\n'
            if environment.getattr(l_1_page_method, 'empty_request'):
                pass
                yield '            empty_request=True,\n'
            if environment.getattr(l_1_page_method, 'empty_response'):
                pass
                yield '            empty_response=True,\n'
            yield '            descriptor='
            yield str(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'variable'))
            yield '.methods_by_name["'
            yield str(environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'name'))
            yield '"],\n'
            if environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'comments'):
                pass
                yield str(context.call((undefined(name='argument') if l_0_argument is missing else l_0_argument), 'comments', environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'comments'), 12, _loop_vars=_loop_vars))
                yield '\n'
            for (l_2_text, l_2_arguments) in environment.getattr(l_1_page_method, 'settings'):
                l_2_signature = resolve('signature')
                _loop_vars = {}
                pass
                yield str((context.call((undefined(name='signature') if l_2_signature is missing else l_2_signature), l_2_text, l_2_arguments, ',', 12, _loop_vars=_loop_vars) if l_2_arguments else str_join(('            ', l_2_text, ',', ))))
                yield '\n'
            l_2_text = l_2_arguments = l_2_signature = missing
            yield '        ),\n'
        l_1_page_method = l_1_method = missing
        yield '    ),\n'
    else:
        pass
        yield '    methods=(),\n'
    def macro(l_1_state, l_1_indent):
        t_4 = []
        l_1_signature = resolve('signature')
        if l_1_state is missing:
            l_1_state = undefined("parameter 'state' was not provided", name='state')
        if l_1_indent is missing:
            l_1_indent = undefined("parameter 'indent' was not provided", name='indent')
        pass
        t_4.append(
            str(context.call((undefined(name='signature') if l_1_signature is missing else l_1_signature), str_join(((undefined(name='restate') if l_0_restate is missing else l_0_restate), '.StateDescriptor', )), [str_join(('name="', environment.getattr(environment.getattr(l_1_state, 'entry'), 'name'), '"', )), str_join(('python_name="', environment.getattr(environment.getattr(l_1_state, 'entry'), 'python_name'), '"', )), str_join(('type=', environment.getattr(environment.getattr(l_1_state, 'type'), 'value'), ))], '', l_1_indent)),
        )
        return concat(t_4)
    context.exported_vars.add('state_descriptor')
    context.vars['state_descriptor'] = l_0_state_descriptor = Macro(environment, macro, 'state_descriptor', ('state', 'indent'), False, False, False, context.eval_ctx.autoescape)
    if (t_1(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states')) == 1):
        pass
        yield str(context.call((undefined(name='single') if l_0_single is missing else l_0_single), 'states=', t_2(context.call((undefined(name='state_descriptor') if l_0_state_descriptor is missing else l_0_state_descriptor), environment.getitem(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'), 0), 8)), 4))
        yield '\n'
    elif environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'):
        pass
        yield '    states=(\n'
        for l_1_state in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'):
            _loop_vars = {}
            pass
            yield str(context.call((undefined(name='state_descriptor') if l_0_state_descriptor is missing else l_0_state_descriptor), l_1_state, 8, _loop_vars=_loop_vars))
            yield ',\n'
        l_1_state = missing
        yield '    ),\n'
    for (l_1_text, l_1_arguments) in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'settings'):
        l_1_signature = resolve('signature')
        _loop_vars = {}
        pass
        yield str((context.call((undefined(name='signature') if l_1_signature is missing else l_1_signature), l_1_text, l_1_arguments, ',', 4, _loop_vars=_loop_vars) if l_1_arguments else str_join(('    ', l_1_text, ',', ))))
        yield '\n'
    l_1_text = l_1_arguments = l_1_signature = missing
    yield ')\n"""'
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'))
    yield ', as the runtime knows it."""\n'

blocks = {}
debug_info = '1=36&2=40&4=46&5=48&6=50&7=52&8=54&10=56&12=59&13=63&14=66&15=68&16=70&17=72&18=74&19=76&20=79&22=81&23=84&25=86&28=89&31=93&32=97&33=99&35=101&36=105&44=114&45=123&47=128&48=130&49=132&51=135&52=138&56=142&57=146&60=150'
