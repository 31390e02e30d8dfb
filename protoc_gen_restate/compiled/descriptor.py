"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "8b4e3aa462ab5e9118ba67bdfe75aff07c06bfbcf591d53fa9667c0f3f84dac4"
from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join
name = 'descriptor.py.j2'

def root(context, missing=missing):
    resolve = context.resolve_or_missing
    undefined = environment.undefined
    concat = environment.concat
    cond_expr_undefined = Undefined
    if 0: yield None
    l_0_whole = resolve('whole')
    l_0_item = resolve('item')
    l_0_service = resolve('service')
    l_0_page = resolve('page')
    l_0_restate = resolve('restate')
    l_0_keyword = resolve('keyword')
    try:
        t_1 = environment.filters['literal']
    except KeyError:
        @internalcode
        def t_1(*unused):
            raise TemplateRuntimeError("No filter named 'literal' found.")
    try:
        t_2 = environment.tests['none']
    except KeyError:
        @internalcode
        def t_2(*unused):
            raise TemplateRuntimeError("No test named 'none' found.")
    pass
    yield str(context.call((undefined(name='whole') if l_0_whole is missing else l_0_whole), str_join((environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'variable'), ' = ', environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'descriptor'), ))))
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
        yield str(context.call((undefined(name='keyword') if l_0_keyword is missing else l_0_keyword), 'comments', environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'comments'), 4))
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
            if (not t_2(environment.getattr(l_1_page_method, 'key_field'))):
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
                yield str(context.call((undefined(name='keyword') if l_0_keyword is missing else l_0_keyword), 'comments', environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'comments'), 12, _loop_vars=_loop_vars))
                yield '\n'
            for (l_2_text, l_2_arguments) in environment.getattr(l_1_page_method, 'settings'):
                l_2_call = resolve('call')
                _loop_vars = {}
                pass
                yield str((context.call((undefined(name='call') if l_2_call is missing else l_2_call), l_2_text, l_2_arguments, ',', 12, _loop_vars=_loop_vars) if l_2_arguments else str_join(('            ', l_2_text, ',', ))))
                yield '\n'
            l_2_text = l_2_arguments = l_2_call = missing
            yield '        ),\n'
        l_1_page_method = l_1_method = missing
        yield '    ),\n'
    else:
        pass
        yield '    methods=(),\n'
    if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'):
        pass
        yield '    states=(\n'
        for l_1_state in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'):
            l_1_exploded = resolve('exploded')
            _loop_vars = {}
            pass
            yield str(context.call((undefined(name='exploded') if l_1_exploded is missing else l_1_exploded), str_join(((undefined(name='restate') if l_0_restate is missing else l_0_restate), '.StateDescriptor', )), [str_join(('name=', t_1(environment.getattr(environment.getattr(l_1_state, 'entry'), 'name')), )), str_join(('python_name=', t_1(environment.getattr(environment.getattr(l_1_state, 'entry'), 'python_name')), )), str_join(('type=', environment.getattr(environment.getattr(l_1_state, 'type'), 'value'), ))], ',', 8, _loop_vars=_loop_vars))
            yield '\n'
        l_1_state = l_1_exploded = missing
        yield '    ),\n'
    for (l_1_text, l_1_arguments) in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'settings'):
        l_1_call = resolve('call')
        _loop_vars = {}
        pass
        yield str((context.call((undefined(name='call') if l_1_call is missing else l_1_call), l_1_text, l_1_arguments, ',', 4, _loop_vars=_loop_vars) if l_1_arguments else str_join(('    ', l_1_text, ',', ))))
        yield '\n'
    l_1_text = l_1_arguments = l_1_call = missing
    yield ')'
    yield str(('  # fmt: skip' if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'has_long_names') else cond_expr_undefined("the inline if-expression on line 54 in 'descriptor.py.j2' evaluated to false and no else section was defined.")))
    yield '\n"""'
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'))
    yield ', as the runtime knows it."""\n'

blocks = {}
debug_info = '1=29&2=31&4=37&5=39&6=41&7=43&8=45&10=47&12=50&13=54&14=57&15=59&16=61&17=63&18=65&19=67&20=70&22=72&23=75&25=77&28=80&31=84&32=88&33=90&35=92&36=96&44=105&46=108&47=112&51=116&52=120&54=124&55=126'
