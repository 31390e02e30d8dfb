"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "4178e56430d2d9ecec114b7bcabe4b39783c6d3c02cfeee094a030bc9bd27b0e"
from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join
name = 'client.py.j2'

def root(context, missing=missing):
    resolve = context.resolve_or_missing
    undefined = environment.undefined
    concat = environment.concat
    cond_expr_undefined = Undefined
    if 0: yield None
    try:
        t_1 = environment.filters['docstring']
    except KeyError:
        @internalcode
        def t_1(*unused):
            raise TemplateRuntimeError("No filter named 'docstring' found.")
    try:
        t_2 = environment.filters['literal']
    except KeyError:
        @internalcode
        def t_2(*unused):
            raise TemplateRuntimeError("No filter named 'literal' found.")
    try:
        t_3 = environment.filters['lower']
    except KeyError:
        @internalcode
        def t_3(*unused):
            raise TemplateRuntimeError("No filter named 'lower' found.")
    pass
    def t_4(fiter):
        l_1_page = resolve('page')
        for l_1_kind in fiter:
            if ((not l_1_kind) or environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'sync')):
                yield l_1_kind
    l_1_loop = missing
    for l_1_kind, l_1_loop in LoopContext(t_4(['', 'Sync']), undefined):
        l_1_service = resolve('service')
        l_1_call = resolve('call')
        l_1_restate = resolve('restate')
        l_1_item = resolve('item')
        l_1_page = resolve('page')
        _loop_vars = {}
        pass
        if environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'deprecated'):
            pass
            yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('@', (undefined(name='restate') if l_1_restate is missing else l_1_restate), '.deprecated', )), [t_2(str_join(('the service ', environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'), ' is deprecated', ))), 'category=None'], _loop_vars=_loop_vars))
            yield '\n'
        yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('class ', environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'python_name'), l_1_kind, 'Client', )), [str_join(((undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_kind, 'Client', ))], ':', _loop_vars=_loop_vars))
        yield '\n    '
        yield str(t_1(str_join((environment.getattr((undefined(name='item') if l_1_item is missing else l_1_item), 'documentation'), ('\n\nFor code without an event loop.' if l_1_kind else ''), )), 4))
        yield '\n\n    __slots__ = ()\n'
        l_2_loop = missing
        for l_2_page_method, l_2_loop in LoopContext(environment.getattr((undefined(name='item') if l_1_item is missing else l_1_item), 'methods'), undefined):
            l_2_signature = resolve('signature')
            l_2_method = l_2_response = missing
            _loop_vars = {}
            pass
            l_2_method = environment.getattr(l_2_page_method, 'method')
            _loop_vars['method'] = l_2_method
            l_2_response = ('None' if environment.getattr(l_2_page_method, 'empty_response') else environment.getattr(environment.getattr(l_2_page_method, 'response'), 'annotation'))
            _loop_vars['response'] = l_2_response
            yield '\n    @'
            yield str(environment.getattr(environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'names'), 'property'))
            yield '\n'
            if environment.getattr((undefined(name='method') if l_2_method is missing else l_2_method), 'deprecated'):
                pass
                yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('@', (undefined(name='restate') if l_1_restate is missing else l_1_restate), '.deprecated', )), [t_2(str_join((environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'), '/', environment.getattr((undefined(name='method') if l_2_method is missing else l_2_method), 'name'), ' is deprecated', ))), 'category=None'], indent=4, _loop_vars=_loop_vars))
                yield '\n'
            if environment.getattr(l_2_page_method, 'empty_request'):
                pass
                yield str(context.call((undefined(name='signature') if l_2_signature is missing else l_2_signature), str_join(('def ', environment.getattr((undefined(name='method') if l_2_method is missing else l_2_method), 'python_name'), )), ['self'], str_join(((undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_kind, 'EmptyMethod', )), [(undefined(name='response') if l_2_response is missing else l_2_response)], _loop_vars=_loop_vars))
                yield '\n        '
                yield str(t_1(environment.getattr(l_2_page_method, 'documentation'), 8))
                yield '\n'
                yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('return ', (undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_kind, 'EmptyMethod', )), ['self', str_join((environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'constant'), '.methods[', environment.getattr(l_2_loop, 'index0'), ']', ))], indent=8, _loop_vars=_loop_vars))
                yield '\n'
            else:
                pass
                yield str(context.call((undefined(name='signature') if l_2_signature is missing else l_2_signature), str_join(('def ', environment.getattr((undefined(name='method') if l_2_method is missing else l_2_method), 'python_name'), )), ['self'], str_join(((undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_kind, 'Method', )), [environment.getattr(environment.getattr(l_2_page_method, 'request'), 'annotation'), (undefined(name='response') if l_2_response is missing else l_2_response)], _loop_vars=_loop_vars))
                yield '\n        '
                yield str(t_1(environment.getattr(l_2_page_method, 'documentation'), 8))
                yield '\n'
                yield str(context.call((undefined(name='call') if l_1_call is missing else l_1_call), str_join(('return ', (undefined(name='restate') if l_1_restate is missing else l_1_restate), '.', l_1_kind, 'Method', )), ['self', str_join((environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'constant'), '.methods[', environment.getattr(l_2_loop, 'index0'), ']', ))], indent=8, _loop_vars=_loop_vars))
                yield '\n'
        l_2_loop = l_2_page_method = l_2_method = l_2_response = l_2_signature = missing
        yield '\n    # @@protoc_insertion_point('
        yield str((str_join((t_3(l_1_kind), '_', )) if l_1_kind else cond_expr_undefined("the inline if-expression on line 29 in 'client.py.j2' evaluated to false and no else section was defined.")))
        yield 'client:'
        yield str(environment.getattr((undefined(name='service') if l_1_service is missing else l_1_service), 'full_name'))
        yield ')\n'
        if ((l_1_kind == '') and environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'sync')):
            pass
            yield '\n\n'
    l_1_loop = l_1_kind = l_1_service = l_1_call = l_1_restate = l_1_item = l_1_page = missing

blocks = {}
debug_info = '2=29&3=43&4=45&6=47&7=49&10=52&11=57&12=59&14=62&15=64&16=66&18=68&19=70&20=72&21=74&23=78&24=80&25=82&29=86&30=90'
